"""Results of other data, of other formats, and broken ones."""

import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog

from querydet.evaluation.detections_file import write_detections
from querydet.evaluation.image_detections import ImageDetections
from querydet.evaluation.results_file import find_results, read_detections, read_results
from querydet.utils.run_lengths import encode_masks, read_counts
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


@pytest.fixture
def read_masks(dataset, tmp_path):
    """Reads the masks, too."""

    def reader(content):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(content))
        return read_detections(str(path), dataset)

    return reader


def disc(radius=20):
    y, x = torch.meshgrid(torch.arange(100), torch.arange(200), indexing="ij")
    (mask,) = encode_masks(((y - 50) ** 2 + (x - 80) ** 2 < radius**2)[None])
    return mask


def test_written_detections_are_read(dataset, tmp_path):
    rows = np.array([[1, 2, 3, 4, 0.5, 0], [5, 6, 7, 8.5, 0.25, 2]])
    masks = [disc(), disc(9)]
    written = {1: ImageDetections(rows, masks=masks), 2: ImageDetections(rows[:1], masks=[disc(0)])}
    path = write_detections(str(tmp_path), written, [10, 20, 30])
    found = read_detections(path, dataset)
    assert {image_id: image.masks for image_id, image in found.items()} == {1: masks, 2: [disc(0)]}
    for by_image in ({image_id: image.rows for image_id, image in found.items()}, read_results(path, dataset)):
        assert by_image[1].tolist() == rows.tolist()
        assert by_image[2].tolist() == rows[:1].tolist()


def test_boxes_only_have_no_masks(read_masks):
    assert read_masks([GOOD, {**GOOD, "segmentation": []}])[1].masks is None


def test_masks_without_boxes_have_the_box_around_them(read, read_masks):
    entry = {**{key: value for key, value in GOOD.items() if key != "bbox"}, "segmentation": disc()}
    found = read_masks([entry])[1]
    assert found.masks == [disc()]
    assert found.rows.tolist() == read([entry])[1].tolist() == [[61, 31, 39, 39, 0.5, 1]]


def test_counts_as_a_list_become_a_text(read_masks):
    listed = {"size": [100, 200], "counts": read_counts(disc()["counts"]).tolist()}
    assert read_masks([{**GOOD, "segmentation": listed}])[1].masks == [disc()]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"size": [200, 100], "counts": "0"}, r"1 of 2 entries have masks that cannot be used \(entry 1: its size is"),
        ({**disc(), "counts": "~~~"}, "entry 1: its counts"),
        ({**disc(), "counts": disc()["counts"][:-2]}, "entry 1: its counts"),
        ([[1, 2, 30, 2, 30, 40]], "entry 1: a mask of run lengths needs 'size' and 'counts'"),
        ("text", "entry 1: a mask of run lengths needs"),
        ({"size": 3, "counts": []}, "entry 1: its size"),
        (None, r"1 of 2 entries have no mask \(segmentation\), but others have one \(entry 1\)"),
    ],
)
def test_bad_masks_are_named_by_their_entry(read, read_masks, mask, message):
    content = [{**GOOD, "segmentation": disc()}, {**GOOD, "segmentation": mask}]
    with pytest.raises(ValueError, match=message):
        read_masks(content)
    assert len(read(content)[1]) == 2  # where boxes are compared, nobody looks at masks


def test_an_entry_has_a_box_or_a_mask(read):
    entry = {key: value for key, value in GOOD.items() if key != "bbox"}
    for mask in (None, []):
        with pytest.raises(ValueError, match="are not detections with image_id"):
            read([{**entry, "segmentation": mask}])


def test_masks_leave_with_detections_that_are_not_finite(read_masks):
    content = [{**GOOD, "score": float("nan"), "segmentation": disc(3)}, {**GOOD, "segmentation": disc()}]
    assert read_masks(content)[1].masks == [disc()]
