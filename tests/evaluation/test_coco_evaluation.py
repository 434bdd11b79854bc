"""The evaluator against pycocotools by hand, and everything that pycocotools does not survive."""

import contextlib
import io
import json
import math
import os

import detectron2.utils.comm as comm
import numpy as np
import pytest
import torch
from detectron2.evaluation import inference_on_dataset
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from querydet.data import load_coco
from querydet.evaluation import CocoEvaluator

METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl"]


def random_content(seed=0, num_images=12, num_classes=3):
    """A COCO json with crowd regions, ids with gaps and an annotation of id 0."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(num_images):
        for _ in range(rng.integers(0, 6)):
            x, y, w, h = rng.uniform([0, 0, 4, 4], [90, 90, 110, 110]).tolist()
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 10 + image,
                    "category_id": int(rng.integers(num_classes)) * 7 + 2,
                    "bbox": [x, y, w, h],
                    "area": w * h * 0.7,
                    "iscrowd": int(rng.uniform() < 0.1),
                }
            )
    return {
        "images": [{"id": 10 + k, "file_name": f"{k}.png", "width": 200, "height": 200} for k in range(num_images)],
        "annotations": annotations,
        "categories": [{"id": 7 * k + 2, "name": f"class {k}"} for k in range(num_classes)],
    }


@pytest.fixture
def make_dataset(tmp_path):
    def make(content):
        path = tmp_path / "gt.json"
        path.write_text(json.dumps(content))
        return load_coco(str(path), str(tmp_path), check_files=False)

    return make


def detections(boxes, scores, classes):
    instances = Instances((200, 200))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(scores, dtype=torch.float32)
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    return instances


def noisy_predictions(dataset, seed=1, noise=6.0):
    """Shifted ground truth, wrong classes and inventions, by image id."""
    rng = np.random.default_rng(seed)
    predictions = {}
    for record in dataset:
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in record["annotations"])]
        classes = [item["category_id"] for item in record["annotations"]]
        extra = int(rng.integers(3))
        corners = rng.uniform(0, 90, (extra, 2))
        boxes = np.array([*boxes, *np.concatenate([corners, corners + 40], 1).tolist()]).reshape(-1, 4)
        boxes = boxes + rng.normal(0, noise, boxes.shape)
        classes = [k if rng.uniform() < 0.9 else (k + 1) % 3 for k in classes] + [0] * extra
        predictions[record["image_id"]] = detections(boxes.tolist(), rng.uniform(0, 1, len(boxes)).tolist(), classes)
    return predictions


def run(dataset, predictions, **options):
    evaluator = CocoEvaluator(dataset=dataset, **options)
    evaluator.reset()
    for image_id, instances in predictions.items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


def official(content, predictions):
    """pycocotools alone; annotation ids from 1, which its matching needs."""
    numbered = [{**item, "id": index + 1} for index, item in enumerate(content["annotations"])]
    ids = sorted(category["id"] for category in content["categories"])
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {**content, "annotations": numbered, "info": {}}
        truth.createIndex()
        rows = []
        for image_id, instances in predictions.items():
            for (x0, y0, x1, y1), score, label in zip(
                instances.pred_boxes.tensor.tolist(),
                instances.scores.tolist(),
                instances.pred_classes.tolist(),
                strict=True,
            ):
                box = [x0, y0, x1 - x0, y1 - y0]
                rows.append({"image_id": image_id, "category_id": ids[label], "bbox": box, "score": score})
        coco_eval = COCOeval(truth, truth.loadRes(rows), "bbox")
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return [100 * value if value >= 0 else -1.0 for value in coco_eval.stats[:6]]


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_pycocotools(make_dataset, seed):
    content = random_content(seed)
    dataset = make_dataset(content)
    predictions = noisy_predictions(dataset, seed)
    results = run(dataset, predictions)
    assert [results[name] for name in METRICS] == pytest.approx(official(content, predictions), abs=1e-4)
    assert 0 < results["AP"] < 100


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_backends_give_the_same_results(make_dataset, backend, tmp_path):
    if backend == "hotcoco":
        pytest.importorskip("hotcoco", reason="hotcoco, the fast backend, is not installed")
    dataset = make_dataset(random_content(3, num_images=25))
    predictions = noisy_predictions(dataset, 3)
    results = run(dataset, predictions, backend=backend, output_dir=str(tmp_path))
    assert results == pytest.approx(run(dataset, predictions, backend="pycocotools"), abs=1e-9)
    record = json.loads((tmp_path / "coco_evaluation.json").read_text())
    assert record["backend"]["name"] == backend
    assert record["backend"]["version"]
    assert record["results"] == results


def test_image_ids_of_any_size_keep_the_order_of_equal_scores(make_dataset):
    """Ids beyond what a float holds exactly, as of hashes; the ranking of ties depends on their order."""
    content = random_content(4)
    large = {image["id"]: 2**60 + 3 * image["id"] for image in content["images"]}
    predictions = noisy_predictions(make_dataset(content), 4)
    for each in predictions.values():
        each.scores = each.scores.round(decimals=1)
    expected = run(make_dataset(content), predictions)
    moved = {
        **content,
        "images": [{**image, "id": large[image["id"]]} for image in content["images"]],
        "annotations": [{**item, "image_id": large[item["image_id"]]} for item in content["annotations"]],
    }
    assert run(make_dataset(moved), {large[key]: found for key, found in predictions.items()}) == expected


def test_perfect_predictions_have_ap_100(make_dataset):
    content = random_content()
    for item in content["annotations"]:
        item["iscrowd"] = 0
    dataset = make_dataset(content)
    exact = {
        record["image_id"]: detections(
            [[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in record["annotations"])],
            [0.9] * len(record["annotations"]),
            [item["category_id"] for item in record["annotations"]],
        )
        for record in dataset
    }
    results = run(dataset, exact)
    assert results["AP"] == pytest.approx(100, abs=1e-6)
    assert results["AP-class 2"] == pytest.approx(100, abs=1e-6)


def one_object(annotation_id=1, **annotation):
    box = {"id": annotation_id, "image_id": 10, "category_id": 2, "bbox": [10, 10, 50, 50], **annotation}
    return {**random_content(num_images=2, num_classes=2), "annotations": [box]}


def test_annotation_id_0_counts_as_matched(make_dataset):
    dataset = make_dataset(one_object(annotation_id=0))
    assert run(dataset, {10: detections([[10, 10, 60, 60]], [0.9], [0])})["AP"] == pytest.approx(100)


def test_a_repaired_box_is_the_ground_truth(make_dataset):
    dataset = make_dataset(one_object(bbox=[150, 150, 500, 500]))
    assert run(dataset, {10: detections([[150, 150, 200, 200]], [0.9], [0])})["AP"] == pytest.approx(100)


def test_a_crowd_region_is_neither_missed_nor_false(make_dataset):
    content = one_object()
    content["annotations"].append(
        {"id": 2, "image_id": 10, "category_id": 2, "bbox": [100, 100, 90, 90], "area": 8100, "iscrowd": 1}
    )
    dataset = make_dataset(content)
    found = {10: detections([[10, 10, 60, 60], [110, 110, 150, 150]], [0.9, 0.95], [0, 0])}
    assert run(dataset, found)["AP"] == pytest.approx(100)


def test_no_detections_are_ap_0(make_dataset):
    dataset = make_dataset(one_object())
    for predictions in ({}, {10: detections([], [], []), 11: detections([], [], [])}):
        results = run(dataset, predictions)
        assert (results["AP"], results["AP50"], results["APm"], results["AP-class 0"]) == (0, 0, 0, 0)
        assert (results["APs"], results["APl"], results["AP-class 1"]) == (-1, -1, -1)  # no ground truth


def test_no_ground_truth_is_minus_one(make_dataset):
    dataset = make_dataset({**random_content(num_images=2), "annotations": []})
    for predictions in ({}, {10: detections([[1, 1, 9, 9]], [0.5], [1])}):
        results = run(dataset, predictions)
        assert {results[name] for name in (*METRICS, "AP-class 0")} == {-1}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite_detections_are_dropped_and_counted(make_dataset, bad, caplog):
    dataset = make_dataset(one_object())
    good = detections([[12, 12, 58, 60]], [0.5], [0])
    expected = run(dataset, {10: good})
    broken = detections([[12, 12, 58, 60], [10, bad, 60, 60], [10, 10, 60, 60]], [0.5, 0.9, bad], [0, 0, 0])
    results = run(dataset, {10: broken, 11: detections([[bad] * 4], [0.9], [1])})
    assert expected["nonfinite_detections"] == 0
    assert results == {**expected, "nonfinite_detections": 3}
    assert "dropped 3 NaN or infinite detections, in images 10, 11" in caplog.text


def test_nonfinite_detections_raise_where_wanted(make_dataset):
    dataset = make_dataset(one_object())
    broken = detections([[12, 12, 58, 60], [10, 10, 60, math.nan]], [0.5, 0.9], [0, 0])
    with pytest.raises(ValueError, match="image 10: 1 of 2 detections have a NaN or infinite box or score"):
        run(dataset, {10: broken}, on_nonfinite="raise")


@pytest.mark.parametrize("score", [-0.25, 1.5])
def test_scores_that_are_no_probabilities_are_refused(make_dataset, score):
    dataset = make_dataset(one_object())
    with pytest.raises(ValueError, match=rf"image 10: a detection has score {score}, outside \[0, 1\]"):
        run(dataset, {10: detections([[10, 10, 60, 60]], [score], [0])})


def test_detections_for_an_image_of_another_size_are_refused(make_dataset):
    found = Instances((100, 200), **detections([[10, 10, 60, 60]], [0.5], [0]).get_fields())
    with pytest.raises(ValueError, match=r"image 10: the detections are for an image of 100x200 .* records 200x200"):
        run(make_dataset(one_object()), {10: found})


def test_an_image_that_is_processed_twice_counts_once(make_dataset):
    dataset = make_dataset(random_content())
    predictions = noisy_predictions(dataset)
    evaluator = CocoEvaluator(dataset=dataset)
    evaluator.reset()
    for image_id, instances in [*predictions.items(), *predictions.items()]:
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    assert evaluator.evaluate()["bbox"] == run(dataset, predictions)


def test_unknown_settings_and_images_are_refused(make_dataset):
    dataset = make_dataset(one_object())
    with pytest.raises(ValueError, match="on_nonfinite must be one of"):
        CocoEvaluator(dataset=dataset, on_nonfinite="ignore")
    with pytest.raises(ValueError, match="max_dets_per_image must be an integer of at least 1, got 0"):
        CocoEvaluator(dataset=dataset, max_dets_per_image=0)
    with pytest.raises(ValueError, match=r"img_ids has \[99\]"):
        CocoEvaluator(dataset=dataset).evaluate([99])


def test_only_nonfinite_detections(make_dataset):
    results = run(make_dataset(one_object()), {10: detections([[math.nan] * 4], [0.5], [0])})
    assert (results["AP"], results["nonfinite_detections"]) == (0, 1)


def test_evaluating_twice_gives_the_same(make_dataset):
    dataset = make_dataset(random_content())
    evaluator = CocoEvaluator(dataset=dataset)
    evaluator.reset()
    for image_id, instances in noisy_predictions(dataset).items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    first = evaluator.evaluate()
    assert evaluator.evaluate() == first
    evaluator.reset()
    assert evaluator.evaluate()["bbox"]["AP"] == 0


def test_detections_kept_per_image_and_class(make_dataset):
    dataset = make_dataset(one_object())
    boxes = [[100, 100, 120, 120]] * 150 + [[10, 10, 60, 60]]
    scores = [0.9] * 150 + [0.1]
    found = {10: detections(boxes, scores, [0] * 151)}
    assert run(dataset, found)["AP50"] == 0
    assert run(dataset, found, max_dets_per_image=200)["AP50"] > 0


def test_category_ids_of_the_json_are_written(make_dataset, tmp_path):
    dataset = make_dataset(one_object())
    run(dataset, {10: detections([[10, 10, 60, 60]], [0.5], [1])}, output_dir=str(tmp_path / "out"))
    with open(tmp_path / "out" / "coco_instances_results.json") as file:
        assert json.load(file) == [{"image_id": 10, "category_id": 9, "bbox": [10, 10, 50, 50], "score": 0.5}]


def test_an_image_of_another_data_set_is_refused(make_dataset):
    with pytest.raises(ValueError, match="image id 99 is not in data set"):
        run(make_dataset(one_object()), {99: detections([], [], [])})


@pytest.mark.parametrize("label", [2, -1])
def test_a_class_that_the_data_lack_is_refused(make_dataset, label):
    with pytest.raises(ValueError, match=rf"image 10: predicted class {label}, .* set model.num_classes=2"):
        run(make_dataset(one_object()), {10: detections([[1, 1, 9, 9]], [0.5], [label])})


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="without images"):
        CocoEvaluator(dataset=[])


def test_two_processes_give_the_result_of_one(make_dataset, monkeypatch):
    dataset = make_dataset(random_content())
    predictions = noisy_predictions(dataset)
    predictions[10] = detections([[math.nan] * 4], [0.5], [0])
    single = run(dataset, predictions)
    ids = list(predictions)
    ranks = []
    for share in (ids[:5], ids[5:]):
        evaluator = CocoEvaluator(dataset=dataset)
        evaluator.reset()
        for image_id in share:
            evaluator.process([{"image_id": image_id}], [{"instances": predictions[image_id]}])
        ranks.append(evaluator)
    gathered = [evaluator._found for evaluator in ranks]
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    monkeypatch.setattr(comm, "gather", lambda data, dst=0: gathered if comm.get_rank() == dst else [])
    assert ranks[0].evaluate()["bbox"] == single
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    assert ranks[1].evaluate() == {}


def test_through_detectron2s_inference_loop(make_dataset):
    class Echo(torch.nn.Module):
        def forward(self, batch):
            return [{"instances": predictions[item["image_id"]]} for item in batch]

    dataset = make_dataset(random_content())
    predictions = noisy_predictions(dataset)
    loader = [[{"image_id": image_id}] for image_id in predictions]
    results = inference_on_dataset(Echo(), loader, CocoEvaluator(dataset=dataset))
    assert results["bbox"] == run(dataset, predictions)


@pytest.mark.skipif(not os.environ.get("QUERYDET_TEST_DATA"), reason="QUERYDET_TEST_DATA names no real data")
def test_real_annotations_found_exactly_have_ap_100():
    root = os.environ["QUERYDET_TEST_DATA"]
    dataset = load_coco(f"{root}/coco128/annotations/instances_val2017.json", f"{root}/coco128/val2017")
    evaluator = CocoEvaluator(dataset=dataset)
    evaluator.reset()
    for record in dataset:
        size = Image.open(record["file_name"]).size
        assert size == (record["width"], record["height"])
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in record["annotations"])]
        classes = [item["category_id"] for item in record["annotations"]]
        evaluator.process([record], [{"instances": detections(boxes, [0.5] * len(boxes), classes)}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100, abs=0.01)
