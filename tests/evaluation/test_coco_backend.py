"""Both backends against each other and against pycocotools called by hand, to 1e-9, on random sets with everything."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.evaluation.coco_backend import CocoBackend, coco_api
from querydet.utils.run_lengths import encode_masks

pytest.importorskip("hotcoco", reason="hotcoco, the fast backend, is not installed")


def random_case(seed, num_images=12, num_classes=4, detections=14):
    """Crowd regions, ties of scores, boxes of no size, images and classes without objects or detections."""
    rng = np.random.default_rng(seed)
    annotations, rows = [], []
    for image in range(1, num_images + 1):
        truth = []
        for _ in range(rng.integers(0, 6)):
            box = np.concatenate([rng.uniform(0, 150, 2), rng.choice([10, 40, 120]) * rng.uniform(0.5, 1.5, 2)])
            category = int(rng.integers(1, num_classes + 1))
            truth.append((box, category))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3] * rng.uniform(0.5, 1)),
                    "iscrowd": int(rng.uniform() < 0.15),
                }
            )
        for _ in range(rng.integers(0, detections)):
            if truth and rng.uniform() < 0.7:
                box, category = truth[rng.integers(len(truth))]
                box = box + rng.normal(0, 4, 4)
            else:
                box, category = rng.uniform(0, 150, 4), int(rng.integers(1, num_classes + 1))
            box[2:] = np.maximum(box[2:], 0) * (rng.uniform() < 0.95)
            rows.append([image, *box, round(rng.uniform(), 1), category])
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 300, "height": 300} for k in range(1, num_images + 1)],
        "annotations": annotations,
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, num_classes + 1)],
    }
    return content, np.array(rows, dtype=np.float64).reshape(-1, 7)


def evaluate(name, content, rows, max_dets=(1, 10, 100), **options):
    return CocoBackend(name).evaluate(content, rows, max_dets, **options)


def assert_equal(first, second):
    assert first.twelve() == pytest.approx(second.twelve(), abs=1e-9)
    assert first.per_class() == pytest.approx(second.per_class(), abs=1e-9)
    assert np.abs(first.precision - second.precision).max() < 1e-9
    assert np.abs(first.recall - second.recall).max() < 1e-9


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), limit=st.sampled_from([3, 100, 300]))
def test_backends_agree_to_the_last_digits(seed, limit):
    content, rows = random_case(seed)
    limits = (1, min(10, limit), limit)
    assert_equal(evaluate("hotcoco", content, rows, limits), evaluate("pycocotools", content, rows, limits))


def random_masks(seed, boxes, size=300):
    """Parts of the boxes as run lengths, some of them empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((len(boxes), size, size), dtype=bool)
    for mask, (x, y, w, h) in zip(masks, np.maximum(boxes, 0).astype(int), strict=True):
        part = mask[y : y + h, x : x + w]
        part[:] = (rng.uniform(size=part.shape) < rng.uniform(0.8, 1)) & (rng.uniform() < 0.95)
    return encode_masks(torch.from_numpy(masks))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), limit=st.sampled_from([3, 100]))
def test_backends_agree_on_masks_to_the_last_digits(seed, limit):
    content, rows = random_case(seed, num_images=6)
    items = content["annotations"]
    for item, mask in zip(items, random_masks(seed, [item["bbox"] for item in items]), strict=True):
        item["segmentation"] = mask
    masks, limits = random_masks(seed + 1, rows[:, 1:5]), (1, min(10, limit), limit)
    first, second = (evaluate(name, content, rows, limits, masks=masks) for name in ("hotcoco", "pycocotools"))
    assert_equal(first, second)


def test_a_detection_has_the_size_of_its_mask():
    """It is small by its mask and large by its box: no error among the large objects."""
    mask = torch.zeros(1, 300, 300, dtype=torch.bool)
    mask[0, 10:20, 10:20] = mask[0, 280, 280] = True
    content, _ = random_case(0, num_images=1)
    large = torch.zeros(1, 300, 300, dtype=torch.bool)
    large[0, 100:250, 100:250] = True
    box = {"image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [100, 100, 150, 150], "area": 22500}
    content["annotations"] = [{**box, "id": 1, "segmentation": encode_masks(large)[0]}]
    rows = np.array([[1, 10, 10, 271, 271, 0.9, 1], [1, 100, 100, 150, 150, 0.5, 1]], dtype=np.float64)
    for backend in ("hotcoco", "pycocotools"):
        found = evaluate(backend, content, rows, masks=encode_masks(torch.cat([mask, large]))).twelve()
        assert (found["APl"], found["AP"]) == pytest.approx((1, 0.5))


def test_the_twelve_numbers_are_those_that_pycocotools_prints(capsys):
    from pycocotools.cocoeval import COCOeval

    content, rows = random_case(5, num_images=30)
    truth = coco_api(content)
    official = COCOeval(truth, truth.loadRes(rows), "bbox")
    official.evaluate()
    official.accumulate()
    official.summarize()
    assert len(official.stats) == 12
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    for backend in ("hotcoco", "pycocotools"):
        found = evaluate(backend, content, rows).twelve()
        assert list(found) == names
        assert list(found.values()) == pytest.approx(official.stats.tolist(), abs=1e-9)
    assert 0 < found["AP"] < 1


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_degenerate_sets(backend):
    content, rows = random_case(1)
    nothing = evaluate(backend, content, rows[:0])
    assert nothing.twelve()["AP"] == 0
    without_truth = evaluate(backend, {**content, "annotations": []}, rows)
    assert set(without_truth.twelve().values()) == {-1}
    assert set(evaluate(backend, {**content, "annotations": []}, rows[:0]).per_class()) == {-1}


def test_some_images_only():
    content, rows = random_case(2)
    some = [evaluate(name, content, rows, image_ids=[2, 3, 5, 7]) for name in ("hotcoco", "pycocotools")]
    assert_equal(*some)
    assert some[0].twelve() != evaluate("hotcoco", content, rows).twelve()


def test_backend_and_version_are_known():
    assert CocoBackend().name == "hotcoco"  # which is installed here
    assert str(CocoBackend("pycocotools")).startswith("pycocotools 2.")


def test_unknown_and_missing_backends_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"one of .* got 'fast'"):
        CocoBackend("fast")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert CocoBackend().name == "pycocotools"
    with pytest.raises(ImportError, match=r"pip install 'querydet\[fast-eval\]'"):
        CocoBackend("hotcoco")
