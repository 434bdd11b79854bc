"""Results of other data, of other formats, and broken ones."""

import json
import logging

import pytest
from detectron2.data import MetadataCatalog

from querydet.evaluation.results_file import find_results, read_results
from tests.evaluation.hand_made import make_dataset

GOOD = {"image_id": 1, "category_id": 20, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.fixture
def dataset():
    """Two images of 200 x 100 pixels, classes with ids 10, 20 and 30."""
    made = make_dataset([[0, 0, 10, 10]], [])
    MetadataCatalog.get(made.name).thing_dataset_id_to_contiguous_id = {10: 0, 20: 1, 30: 2}
    return made


@pytest.fixture
def read(dataset, tmp_path):
    """Reads what a file with the given content holds."""

    def reader(content):
        path = tmp_path / "results.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_results(str(path), dataset)

    return reader


def test_rows_by_image(read):
    found = read([GOOD, {**GOOD, "score": 1, "category_id": 10.0}, {**GOOD, "image_id": 2.0}])
    assert found[1].tolist() == [[1, 2, 3, 4, 0.5, 1], [1, 2, 3, 4, 1, 0]]
    assert found[2].shape == (1, 6)


def test_no_detections_are_said(read, caplog):
    assert read([]) == {}
    assert "has no detections" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 3}, r"1 of 2 entries are for images that the data set does not have \(entry 1: 3\)"),
        ({"image_id": [1]}, "images that the data set does not have"),
        ({"category_id": 1}, r"categories that the data set does not have \(it has 10, 20, 30, ...\) \(entry 1: 1\)"),
        ({"score": 1.5}, r"scores outside \[0, 1\].*entry 1: 1.5"),
        ({"score": -0.1}, r"scores outside \[0, 1\]"),
        ({"bbox": [1, 2, -3, 4]}, r"negative size: a bbox is x, y, width, height"),
        ({"bbox": [1, 2, 3]}, "are not detections with image_id, category_id, bbox and score"),
        ({"bbox": "1234"}, "are not detections"),
        ({"score": "high"}, "are not detections"),
        ({"score": None}, "are not detections"),
    ],
)
def test_entries_that_do_not_fit(read, change, message):
    with pytest.raises(ValueError, match=message):
        read([GOOD, {**GOOD, **change}])


def test_all_problems_are_in_one_report(read):
    bad = [{**GOOD, "image_id": 7} for _ in range(9)]
    with pytest.raises(ValueError, match=r"(?s)9 of 10 entries .*entry 4: 7; \.\.\.\).*1 of 10 .*scores"):
        read([*bad, {**GOOD, "score": 2}])


def test_detections_that_are_not_finite_are_left_out(read, caplog):
    text = json.dumps([GOOD, {**GOOD, "score": float("nan")}, {**GOOD, "bbox": [0, 0, float("inf"), 1]}])
    assert len(read(text)[1]) == 1
    assert "left out 2 of 3 detections" in caplog.text


def test_boxes_outside_of_their_images_are_named(read, caplog):
    with caplog.at_level(logging.WARNING):
        read([GOOD, {**GOOD, "bbox": [300, 10, 5, 5]}])
    assert "1 of 2 boxes lie outside of their images: were they found on images of another size?" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [("{not json", "is not json"), ({"images": []}, "holds a dict, not a list of detections"), ([1], "are not detec")],
)
def test_other_files(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


def test_results_are_found_in_a_run(tmp_path, dataset):
    with pytest.raises(FileNotFoundError, match=r"does not exist: give a coco_instances_results\.json"):
        find_results(str(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError, match=r"--eval-only train\.init_checkpoint=.* dataloader\.evaluator\.output_dir"
    ):
        find_results(str(tmp_path))
    path = tmp_path / "inference" / "coco_instances_results.json"
    path.parent.mkdir()
    path.write_text("[]")
    assert find_results(str(tmp_path)) == find_results(str(path)) == str(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_results(str(tmp_path / "x.json"), dataset)
