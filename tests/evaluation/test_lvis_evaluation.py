"""LVIS's rules by hand: which detections count in an image that is annotated for some classes only."""

import json
import os

import pytest
import torch
from detectron2.data import MetadataCatalog

from querydet.data import DetectionDataset, choose, class_names, join_datasets, load_coco, load_lvis
from querydet.evaluation import LvisEvaluator
from querydet.utils.run_lengths import encode_masks
from tests.evaluation.hand_made import detections, in_two_processes, run
from tests.lvis_vectors import lvis_vectors, write_lvis

pytest.importorskip("hotcoco", reason="hotcoco, which computes LVIS, is not installed")
BOX, WRONG = [0, 0, 40, 40], [100, 50, 140, 90]  # x0, y0, x1, y1; BOX is also (x, y, w, h)


@pytest.fixture
def make(tmp_path):
    """A data set with one object of class 0 in image 1; classes 1 and 2 are in image 2; what is known is given."""

    def make(negative=(), not_exhaustive=(), file="lvis.json", **changes):
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
        path = tmp_path / file
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


@pytest.fixture
def recorded(tmp_path):
    """The recorded data set and detections, by image."""
    vectors = lvis_vectors()
    dataset = load_lvis(write_lvis(tmp_path), str(tmp_path), check_files=False)
    sizes = {record["image_id"]: (record["height"], record["width"]) for record in dataset}
    outputs = {}
    for image_id, size in sizes.items():
        rows = [row for row in vectors["detections"] if row["image_id"] == image_id]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
        labels = [row["category_id"] - 1 for row in rows]
        found = detections(boxes, [row["score"] for row in rows], labels, size)
        found.pred_boxes.tensor = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
        outputs[f"_{image_id}"] = {"instances": found}
    return dataset, outputs


@pytest.mark.parametrize("limit", [300, 20])
def test_numbers_are_those_of_the_official_code(recorded, limit):
    """With few detections allowed, those of classes of which nothing is known use up places."""
    dataset, outputs = recorded
    expected = lvis_vectors()["expected"][str(limit)]
    results = run(LvisEvaluator(dataset=dataset, max_dets_per_image=limit), **outputs)["bbox"]
    names = {name.replace("AR", f"AR{limit}", name == "AR"): name for name in expected if name != "per_class_AP"}
    for own, name in names.items():
        value = expected[name] if expected[name] < 0 else 100 * expected[name]
        assert results[own] == pytest.approx(value, abs=1e-4), name
    for number, value in expected["per_class_AP"].items():
        wanted = value if value < 0 else 100 * value
        assert results[f"AP-{class_names(dataset)[int(number) - 1]}"] == pytest.approx(wanted, abs=1e-4)


def test_the_data_set_says_what_the_file_does(recorded):
    dataset, outputs = recorded
    path = MetadataCatalog.get(dataset.name).json_file
    own, read = LvisEvaluator(dataset=dataset), LvisEvaluator(dataset=dataset, annotations=path)
    assert run(own, **outputs) == run(read, **outputs)


def test_a_copy_of_some_images_is_evaluated_without_the_file(recorded):
    dataset, outputs = recorded
    some = DetectionDataset(dataset[:5], dataset.name)
    parts = dict(list(outputs.items())[:5])
    path = MetadataCatalog.get(dataset.name).json_file
    expected = run(LvisEvaluator(dataset=some, annotations=path), **parts)
    os.remove(path)
    assert run(LvisEvaluator(dataset=some), **parts) == expected


def test_images_without_annotations_have_no_metrics(tmp_path):
    content = {key: lvis_vectors()["ground_truth"][key] for key in ("images", "categories")}
    path = write_lvis(tmp_path, content)
    dataset = load_lvis(path, str(tmp_path), check_files=False, need_annotations=False)
    assert run(LvisEvaluator(dataset=dataset)) == {}


def test_classes_that_the_test_data_lack_have_no_ap(make):
    names = ["class 8", "other", "class 3", "class 5"]
    dataset = make()
    path = MetadataCatalog.get(dataset.name).json_file
    image_lists = ("neg_category_ids", "not_exhaustive_category_ids")
    for lists in ((), image_lists):
        matched = load_coco(path, "", check_files=False, classes=names, image_lists=lists)
        found = {"instances": detections([BOX], [0.9], [2])}
        results = run(LvisEvaluator(dataset=matched), _1=found)["bbox"]
        assert [results[name] for name in ("APr", "APc", "APf")] == pytest.approx([100, 0, 0])
        assert results["AP-other"] == -1


def test_no_detections_and_files_that_are_not_of_lvis(make):
    nothing = run(LvisEvaluator(dataset=make()))["bbox"]
    assert (nothing["AP"], nothing["APr"]) == (0, 0)
    images = [{"id": 1, "file_name": "1.png", "width": 200, "height": 100}]
    with pytest.raises(ValueError, match="image 1 has no neg_category_ids, not_exhaustive_category_ids"):
        LvisEvaluator(dataset=make(images=images, annotations=[]))
    with pytest.raises(ValueError, match="every category of LVIS has a frequency"):
        LvisEvaluator(dataset=make(categories=[{"id": number, "name": f"c{number}"} for number in (3, 5, 8)]))


def test_parts_of_data_say_what_their_file_does_and_joined_data_need_to_say_it_themselves(make):
    whole, part = (run(LvisEvaluator(dataset=dataset), _2=SECOND) for dataset in (make(), choose(make(), 0, 2)))
    assert whole == part
    with pytest.raises(ValueError, match=r"comes from 2 files: load each of them with querydet\.data\.load_lvis"):
        LvisEvaluator(dataset=join_datasets([make(), make(file="other.json")]))


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
