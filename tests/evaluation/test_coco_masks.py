"""Metrics of masks beside those of boxes: against pycocotools alone, and where there are masks on one side only."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from querydet.data import load_synthetic
from querydet.data.catalog import DetectionDataset
from querydet.evaluation import CocoEvaluator
from querydet.evaluation.coco_backend import coco_api
from querydet.utils.instance_masks import without_masks
from querydet.utils.run_lengths import encode_masks
from tests.evaluation.hand_made import in_two_processes, make_dataset
from tests.evaluation.masked import as_run_lengths, exact, noisy, random_dataset, with_masks

TWELVE = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
BACKENDS = ["hotcoco", "pycocotools"]


def run(dataset, detections, **options):
    evaluator = CocoEvaluator(dataset=dataset, **options)
    evaluator.reset()
    for image_id, instances in detections.items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return evaluator.evaluate()


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "hotcoco":
        pytest.importorskip("hotcoco", reason="hotcoco, the fast backend, is not installed")
    return request.param


def official(dataset, detections):
    """The twelve numbers of pycocotools alone; it has the polygons and lists of the data set as they are."""
    items = [(record["image_id"], item) for record in dataset for item in record["annotations"]]
    truth = coco_api(
        {
            "images": [{"id": r["image_id"], "height": r["height"], "width": r["width"]} for r in dataset],
            "categories": [{"id": index, "name": str(index)} for index in range(3)],
            "annotations": [
                {**item, "id": number, "image_id": image_id, "segmentation": _plain(item["segmentation"])}
                for number, (image_id, item) in enumerate(items, start=1)
            ],
        }
    )
    results = [
        {"image_id": image_id, "category_id": int(label), "score": float(score), "segmentation": mask}
        for image_id, found in detections.items()
        for label, score, mask in zip(found.pred_classes, found.scores, encode_masks(found.pred_masks), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * value if value >= 0 else -1 for value in evaluation.stats]


def _plain(segmentation):
    return segmentation if isinstance(segmentation, dict) else [polygon.tolist() for polygon in segmentation]


@pytest.mark.parametrize("seed", range(6))
def test_metrics_are_those_of_pycocotools(backend, seed):
    dataset = random_dataset(seed)
    detections = noisy(dataset, seed, decimals=1 if seed % 2 else None)
    results = run(dataset, detections, backend=backend)["segm"]
    assert [results[name] for name in TWELVE] == pytest.approx(official(dataset, detections), abs=1e-9)
    assert 0 < results["AP"] < 100


def test_masks_change_nothing_about_boxes(backend):
    dataset = random_dataset(11)
    detections = noisy(dataset, 11)
    boxes_only = {image_id: without_masks(found) for image_id, found in detections.items()}
    results = run(dataset, detections, backend=backend)
    assert run(dataset, boxes_only, backend=backend) == {"bbox": results["bbox"]}
    assert run(without_segmentation(dataset), boxes_only, backend=backend) == {"bbox": results["bbox"]}
    assert list(results) == ["bbox", "segm"]
    assert [f"AP-class {index}" in results["segm"] for index in range(3)] == [True] * 3


def without_segmentation(dataset):
    return DetectionDataset(
        [
            {
                **record,
                "annotations": [
                    {key: value for key, value in item.items() if key != "segmentation"}
                    for item in record["annotations"]
                ],
            }
            for record in dataset
        ],
        dataset.name,
    )


def test_exact_masks_have_ap_100(backend):
    dataset = random_dataset(2, num_images=20)
    visible = [record for record in dataset if all(item["area"] > 2 for item in record["annotations"])]
    dataset = DetectionDataset(visible, dataset.name)
    results = run(dataset, {record["image_id"]: exact(record) for record in dataset}, backend=backend)
    assert results["segm"]["AP"] == pytest.approx(100, abs=1e-9)
    assert results["segm"]["AR100"] == pytest.approx(100, abs=1e-9)


def rectangles(seed, count=10):
    """A data set and detections of whole pixels, whose masks are all of their boxes."""
    rng = np.random.default_rng(seed)

    def rectangle(box):
        mask = np.zeros((100, 200), dtype=bool)
        mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
        return mask

    images, detections = [], {}
    for image in range(1, count + 1):
        boxes = rng.integers([0, 0, 1, 1], [110, 30, 80, 60], (rng.integers(0, 5), 4))
        images.append(
            [
                {
                    "bbox": box.astype(float).tolist(),
                    "segmentation": encode_masks(torch.from_numpy(rectangle(box))[None])[0],
                    "category_id": int(rng.integers(3)),
                    "iscrowd": int(rng.uniform() < 0.2),
                }
                for box in boxes
            ]
        )
        found = boxes + rng.integers(0, 3, boxes.shape)
        labels = [item["category_id"] for item in images[-1]]
        masks = [rectangle(box) for box in found]
        detections[image] = with_masks((100, 200), masks, rng.uniform(0, 1, len(found)), labels, found.astype(float))
    return make_dataset(*images), detections


@pytest.mark.parametrize("seed", range(3))
def test_masks_that_fill_their_boxes_have_the_metrics_of_boxes(backend, seed):
    results = run(*rectangles(seed), backend=backend)
    del results["bbox"]["nonfinite_detections"]
    assert results["segm"] == pytest.approx(results["bbox"], abs=1e-9)


def test_the_order_of_images_and_detections_does_not_matter(backend):
    dataset = random_dataset(5)
    detections = noisy(dataset, 5)
    expected = run(dataset, detections, backend=backend)
    rng = np.random.default_rng(0)
    permuted = {key: detections[key][rng.permutation(len(detections[key]))] for key in reversed(detections)}
    assert run(dataset, permuted, backend=backend)["segm"] == pytest.approx(expected["segm"], abs=1e-9)


def test_run_lengths_of_the_detector_are_its_bitmaps():
    dataset = random_dataset(6)
    detections = noisy(dataset, 6)
    assert run(dataset, {key: as_run_lengths(found) for key, found in detections.items()}) == run(dataset, detections)


def test_an_empty_mask_finds_nothing_and_an_empty_object_is_not_found(backend):
    nothing, disc = np.zeros((100, 200), dtype=bool), np.zeros((100, 200), dtype=bool)
    disc[20:60, 30:90] = True
    both = encode_masks(torch.from_numpy(np.stack([disc, nothing])))
    dataset = make_dataset([{"bbox": [30.0, 20, 60, 40], "segmentation": mask} for mask in both])
    results = run(dataset, {1: with_masks((100, 200), [nothing, nothing], [0.9, 0.8], [0, 0])}, backend=backend)
    assert results["segm"]["AP"] == 0
    results = run(dataset, {1: with_masks((100, 200), [disc, nothing], [0.9, 0.8], [0, 0])}, backend=backend)
    assert results["segm"]["AP50"] == pytest.approx(100 * 51 / 101)


def test_detectors_that_find_nothing_have_mask_ap_0(backend):
    dataset = random_dataset(7)
    nothing = {r["image_id"]: with_masks((r["height"], r["width"]), [], [], []) for r in dataset}
    assert run(dataset, nothing, backend=backend)["segm"]["AP"] == 0


def test_detections_that_are_not_finite_take_their_mask_with_them(caplog):
    dataset = random_dataset(8)
    detections = noisy(dataset, 8)
    expected = run(dataset, detections)["segm"]
    broken = dict(detections)
    for key, found in detections.items():
        more = found[[0, *range(len(found))]] if len(found) else found
        if len(more):
            more.scores[0] = float("nan")
        broken[key] = as_run_lengths(more) if key % 2 else more
    assert run(dataset, broken)["segm"] == expected
    assert "NaN or infinite detections" in caplog.text


def test_one_line_says_that_masks_are_not_evaluated(caplog):
    dataset = random_dataset(9)
    assert list(run(without_segmentation(dataset), noisy(dataset, 9))) == ["bbox"]
    lines = [record.message for record in caplog.records if "makes masks" in record.message]
    assert len(lines) == 1
    assert "was loaded without them" in lines[0]
    assert "dataloader.test.dataset.masks=True" in lines[0]


def test_masks_of_some_images_only_are_refused():
    dataset = random_dataset(10)
    detections = noisy(dataset, 10)
    some = [key for key, found in detections.items() if len(found)]
    detections[some[1]] = without_masks(detections[some[1]])
    with pytest.raises(ValueError, match=rf"1 images have detections without masks, such as image {some[1]}, but"):
        run(dataset, detections)
    items = [item for record in dataset for item in record["annotations"]]
    del items[3]["segmentation"]
    with pytest.raises(ValueError, match="annotations with a segmentation and others without, such as in image"):
        CocoEvaluator(dataset=dataset)


def test_masks_of_another_size_are_refused_by_image():
    dataset = random_dataset(12)
    record = next(record for record in dataset if record["annotations"])
    found = exact(record)
    found.pred_masks = found.pred_masks[:, :-1]
    with pytest.raises(ValueError, match=rf"image {record['image_id']}: pred_masks has to be bool of shape"):
        run(dataset, {record["image_id"]: found})


def test_two_processes_give_the_result_of_one(monkeypatch):
    dataset = random_dataset(13)
    detections = noisy(dataset, 13)
    outputs = {f"_{key}": {"instances": found} for key, found in detections.items()}
    first, second = in_two_processes(lambda: CocoEvaluator(dataset=dataset), outputs, monkeypatch)
    monkeypatch.undo()
    assert first == run(dataset, detections)
    assert second == {}


def test_some_images_only(backend):
    dataset = random_dataset(14)
    detections = noisy(dataset, 14)
    evaluator = CocoEvaluator(dataset=dataset, backend=backend)
    evaluator.reset()
    for image_id, instances in detections.items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    part = DetectionDataset([record for record in dataset if record["image_id"] in (2, 3, 5, 7)], dataset.name)
    expected = run(part, {key: detections[key] for key in (2, 3, 5, 7)}, backend=backend)
    assert evaluator.evaluate([2, 3, 5, 7])["segm"] == pytest.approx(expected["segm"], abs=1e-9)


def test_images_without_annotations_get_a_file_with_masks(tmp_path):
    dataset = random_dataset(15)
    detections = noisy(dataset, 15)
    bare = DetectionDataset([{**record, "annotations": []} for record in dataset], dataset.name, annotated=False)
    assert run(bare, detections, output_dir=str(tmp_path)) == {}
    entries = json.loads((tmp_path / "coco_instances_results.json").read_text())
    expected = [mask for found in detections.values() for mask in encode_masks(found.pred_masks)]
    assert [entry["segmentation"] for entry in entries] == expected


def test_both_results_are_written(tmp_path):
    dataset = random_dataset(16)
    results = run(dataset, noisy(dataset, 16), output_dir=str(tmp_path))
    record = json.loads((tmp_path / "coco_evaluation.json").read_text())
    assert record["results"] == results["bbox"]
    assert record["segm"] == results["segm"]


def test_an_image_without_detections_needs_no_masks():
    dataset = random_dataset(17)
    detections = noisy(dataset, 17)
    detections[1] = without_masks(detections[1][:0])
    assert "segm" in run(dataset, detections)


def test_files_of_a_data_set_give_pycocotools_the_same_numbers(tmp_path):
    """The json that was loaded, and the results that were written, read by pycocotools alone."""
    dataset = load_synthetic(str(tmp_path / "data"), "val", num_images=8, image_size=96, masks=True)
    results = run(dataset, noisy(dataset, 18), output_dir=str(tmp_path))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(MetadataCatalog.get(dataset.name).json_file)
        for task in ("bbox", "segm"):
            found = json.loads((tmp_path / "coco_instances_results.json").read_text())
            if task == "segm":  # for the areas of masks
                found = [{key: value for key, value in entry.items() if key != "bbox"} for entry in found]
            evaluation = COCOeval(truth, truth.loadRes(found), task)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            expected = [100 * value if value >= 0 else -1 for value in evaluation.stats]
            assert [results[task][name] for name in TWELVE] == pytest.approx(expected, abs=1e-9)
    assert 0 < results["segm"]["AP"] < 100
