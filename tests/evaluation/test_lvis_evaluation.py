"""LVIS's rules by hand: which detections count in an image that is annotated for some classes only."""

import json

import pytest
import torch

from querydet.data import load_coco
from querydet.evaluation import LvisEvaluator
from querydet.utils.run_lengths import encode_masks
from tests.evaluation.hand_made import detections, in_two_processes, run

pytest.importorskip("hotcoco", reason="hotcoco, which computes LVIS, is not installed")
BOX, WRONG = [0, 0, 40, 40], [100, 50, 140, 90]  # x0, y0, x1, y1; BOX is also (x, y, w, h)


@pytest.fixture
def make(tmp_path):
    """A data set with one object of class 0 in image 1; classes 1 and 2 are in image 2; what is known is given."""

    def make(negative=(), not_exhaustive=(), **changes):
        known = {"neg_category_ids": list(negative), "not_exhaustive_category_ids": list(not_exhaustive)}
        nothing = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        size = {"width": 200, "height": 100}
        content = {
            "images": [
                {"id": 1, "file_name": "1.png", **size, **known},
                {"id": 2, "file_name": "2.png", **size, **nothing},
            ],
            "annotations": [
                {"id": 1 + index, "image_id": image, "category_id": category, "bbox": BOX, "area": 1600}
                for index, (image, category) in enumerate(((1, 3), (2, 5), (2, 8)))
            ],
            "categories": [
                {"id": number, "name": f"class {number}", "frequency": frequency}
                for number, frequency in ((3, "r"), (5, "c"), (8, "f"))
            ],
            **changes,
        }
        path = tmp_path / "lvis.json"
        path.write_text(json.dumps(content))
        return load_coco(str(path), str(tmp_path), check_files=False)

    return make


SECOND = {"instances": detections([BOX, BOX], [0.5, 0.5], [1, 2])}  # finds both


def first(label):
    """Finds the object, after inventing one of a class with a higher score."""
    return {"instances": detections([WRONG, BOX], [0.9, 0.5], [label, 0])}


@pytest.mark.parametrize(
    ("known", "label", "expected"),
    [
        ({}, 0, (50, 100, 100)),  # the class is in the image
        ({"not_exhaustive": [3]}, 0, (100, 100, 100)),  # but not all of it may be annotated
        ({}, 1, (100, 100, 100)),  # nothing is known of that class in the image
        ({"negative": [5]}, 1, (100, 50, 100)),  # it is known to be absent
    ],
)
def test_a_detection_counts_where_its_class_is_known(make, known, label, expected):
    results = run(LvisEvaluator(dataset=make(**known)), _1=first(label), _2=SECOND)["bbox"]
    assert [results[name] for name in ("APr", "APc", "APf")] == pytest.approx(expected)
    assert results["AP"] == pytest.approx(sum(expected) / 3)
    assert results["AP-class 3"] == pytest.approx(expected[0])
    assert results["AR300"] == pytest.approx(100)


def test_only_the_best_detections_of_an_image_count(make):
    many = {"instances": detections([WRONG] * 3 + [BOX], [0.9] * 3 + [0.5], [1, 1, 2, 0])}
    assert run(LvisEvaluator(dataset=make()), _1=many, _2=SECOND)["bbox"]["APr"] == pytest.approx(100)
    limited = run(LvisEvaluator(dataset=make(), max_dets_per_image=3), _1=many, _2=SECOND)["bbox"]
    assert limited["APr"] == 0


def test_two_processes_give_the_result_of_one(make, monkeypatch):
    dataset, outputs = make(), {"_1": first(0), "_2": SECOND}
    expected = run(LvisEvaluator(dataset=dataset), **outputs)
    assert in_two_processes(lambda: LvisEvaluator(dataset=dataset), outputs, monkeypatch) == (expected, {})


def test_no_detections_and_files_that_are_not_of_lvis(make):
    nothing = run(LvisEvaluator(dataset=make()))["bbox"]
    assert (nothing["AP"], nothing["APr"]) == (0, 0)
    images = [{"id": 1, "file_name": "1.png", "width": 200, "height": 100}]
    with pytest.raises(ValueError, match="image 1 has no neg_category_ids, not_exhaustive_category_ids"):
        LvisEvaluator(dataset=make(images=images, annotations=[]))
    with pytest.raises(ValueError, match="every category of LVIS has a frequency"):
        LvisEvaluator(dataset=make(categories=[{"id": number, "name": f"c{number}"} for number in (3, 5, 8)]))


def rectangle(x0, y0, x1, y1):
    mask = torch.zeros(100, 200, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("limit", [300, 3])
def test_masks_follow_the_same_rules(make, limit):
    """Masks that fill their boxes have the results of the boxes."""
    dataset = make(negative=[5])
    for record in dataset:
        for item in record["annotations"]:
            item["segmentation"] = encode_masks(rectangle(*BOX)[None])[0]
    boxes, scores, labels = [BOX, WRONG, WRONG, BOX, WRONG], [0.5, 0.3, 0.9, 0.8, 0.95], [0, 1, 1, 2, 0]
    found = detections(boxes, scores, labels)
    found.pred_masks = torch.stack([rectangle(*box) for box in boxes])
    second = detections([BOX, BOX], [0.5, 0.5], [1, 2])
    second.pred_masks_rle = encode_masks(torch.stack([rectangle(*BOX)] * 2))
    evaluator = LvisEvaluator(dataset=dataset, max_dets_per_image=limit)
    results = run(evaluator, _1={"instances": found}, _2={"instances": second})
    del results["bbox"]["nonfinite_detections"]
    assert results["segm"] == pytest.approx(results["bbox"], abs=1e-9)
    assert results["segm"]["APr"] == pytest.approx(50 if limit == 300 else 0)
