"""The gains of TIDE: by hand, AP as COCO's for every size, and as hotcoco has them."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from querydet.evaluation.coco_backend import CocoBackend, entries
from querydet.evaluation.error_costs import cost_of_errors
from querydet.evaluation.errors import ERRORS, SIZES, Objects, find_errors
from tests.evaluation.test_coco_backend import random_masks
from tests.evaluation.test_errors import HERE, THERE, objects, rows, shifted, varied


def gains(detections, truth, num_classes=2):
    costs = cost_of_errors([find_errors(rows(*detections), objects(*truth))], num_classes)
    return costs.mean_ap(), {name: round(costs.gain(name), 4) for name in costs.fixed if costs.gain(name)}


def test_what_errors_cost_by_hand():
    # the only object would be found with the right class; then its own class has AP 1, the other no objects
    assert gains([(1, HERE, 0.9)], [(0, HERE)]) == (0.0, {"classification": 1.0})
    assert gains([(0, shifted(60), 0.9)], [(0, HERE)]) == (0.0, {"localisation": 1.0})
    # a wrong detection before the right one: precision 1/2 at all recalls
    found = [(0, THERE, 0.9), (0, HERE, 0.8)]
    assert gains(found, [(0, HERE)]) == (0.5, {"background": 0.5, "false positives": 0.5})
    # the duplicate comes between two right ones: precision 1 up to recall 1/2 (51 of 101), then 2/3
    found = [(0, HERE, 0.9), (0, shifted(5), 0.8), (0, THERE, 0.7)]
    ap, cost = gains(found, [(0, HERE), (0, THERE)])
    assert ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert cost == {"duplicate": round(1 - ap, 4), "false positives": round(1 - ap, 4)}
    # one of two objects is found: recall ends at 1/2
    ap, cost = gains([(0, HERE, 0.9)], [(0, HERE), (0, THERE)])
    assert ap == pytest.approx(51 / 101)
    assert cost == {"missed": round(50 / 101, 4), "false negatives": round(50 / 101, 4)}


def test_an_object_is_corrected_once():
    # both would be right with a better box; the second is suppressed
    truth = [(0, HERE), (0, THERE)]
    found = [(0, shifted(60), 0.9), (0, shifted(55), 0.8), (0, THERE, 0.7)]
    assert gains(found, truth)[1]["localisation"] == round(1 - (1 / 3) * 51 / 101, 4)
    # an object that has been found needs no correction: the detection only goes
    assert gains([(0, shifted(60), 0.9), (0, HERE, 0.8)], [(0, HERE)])[1]["localisation"] == 0.5


def test_gains_by_class_add_up():
    truth = [(0, HERE), (1, THERE)]
    costs = cost_of_errors([find_errors(rows((1, HERE, 0.9), (1, THERE, 0.8)), objects(*truth))], 3)
    assert [costs.class_gain("classification", index) for index in range(3)] == [1.0, 0.5, -1.0]
    assert costs.gain("classification") == 0.75
    assert costs.counts["classification"].tolist() == [0, 1, 0]


def test_nothing():
    assert cost_of_errors([], 2).mean_ap() == -1
    assert cost_of_errors([], 2).gain("missed") == -1
    assert gains([(0, HERE, 0.5)], [])[0] == -1
    assert gains([], [(0, HERE)]) == (0.0, {})


def costs_of(content, found, size, num_classes=4, masks=None):
    images = []
    own_masks = np.array(masks, dtype=object)
    for image in content["images"]:
        items = [item for item in content["annotations"] if item["image_id"] == image["id"]]
        truth = Objects(
            np.array([item["bbox"] for item in items], dtype=np.float64).reshape(-1, 4),
            np.array([item["category_id"] - 1 for item in items], dtype=np.int64),
            np.array([item["area"] for item in items], dtype=np.float64),
            np.array([item["iscrowd"] for item in items], dtype=bool),
            None if masks is None else [item["segmentation"] for item in items],
        )
        own = found[:, 0] == image["id"]
        detections = found[own][:, 1:] - [0, 0, 0, 0, 0, 1]
        detected_masks = None if masks is None else own_masks[own].tolist()
        images.append(find_errors(detections, truth, size=size, masks=detected_masks))
    return cost_of_errors(images, num_classes)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_ap_is_coco_s(seed):
    content, found = varied(seed, crowd=1)
    if seed % 2:
        found[:, 5] = found[:, 5].round(1)  # ties
    precision = CocoBackend("pycocotools").evaluate(content, found, (1, 10, 100)).precision
    for index, size in enumerate(SIZES.values()):
        costs = costs_of(content, found, size)
        wanted = precision[0, :, :, index, -1].mean(axis=0)
        assert np.where(costs.objects > 0, costs.ap, -1) == pytest.approx(wanted, abs=1e-12)


def with_masks(content, found, seed):
    """Add masks to the annotations, and return those of the detections."""
    items = content["annotations"]
    for item, mask in zip(items, random_masks(seed, [item["bbox"] for item in items]), strict=True):
        item["segmentation"] = mask
    return random_masks(seed + 1, found[:, 1:5])


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_ap_of_masks_is_coco_s(seed):
    content, found = varied(seed, crowd=1)
    masks = with_masks(content, found, seed)
    precision = CocoBackend("pycocotools").evaluate(content, found, (1, 10, 100), masks=masks).precision
    for index, size in enumerate(SIZES.values()):
        costs = costs_of(content, found, size, masks=masks)
        wanted = precision[0, :, :, index, -1].mean(axis=0)
        assert np.where(costs.objects > 0, costs.ap, -1) == pytest.approx(wanted, abs=1e-12)


def at_a_threshold(content, found, masks):
    """Whether masks, which are whole pixels, have an IoU of exactly 0.1 or 0.5."""
    items = content["annotations"]
    ious = coco_mask.iou(masks, [item["segmentation"] for item in items], [0] * len(items)) if items and masks else []
    same = found[:, :1] == [item["image_id"] for item in items]
    return bool(np.isin(np.where(same, ious, 0.0), (0.1, 0.5)).any()) if len(ious) else False


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_costs_are_hotcoco_s(iou_type, seed):
    # Without crowd regions, which count as objects to localise there, without ties, which are ordered otherwise, and
    # without an IoU of 0.5 exactly, which is not a duplicate there.
    hotcoco = pytest.importorskip("hotcoco", reason="hotcoco, which computes TIDE's errors too, is not installed")
    content, found = varied(seed, crowd=0)
    masks = with_masks(content, found, seed) if iou_type == "segm" else None
    assume(masks is None or not at_a_threshold(content, found, masks))
    truth = hotcoco.COCO(content)
    results = found if masks is None else entries(found, masks)
    evaluation = hotcoco.COCOeval(truth, truth.load_res(results if len(found) else []), iou_type)
    evaluation.evaluate()
    wanted = evaluation.tide_errors(0.5, 0.1)
    costs = costs_of(content, found, SIZES["all"], masks=masks)
    names = dict(zip(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), ERRORS, strict=True))
    for theirs, ours in {**names, "FP": "false positives", "FN": "false negatives"}.items():
        assert max(0, costs.gain(ours)) == pytest.approx(wanted["delta_ap"][theirs], abs=1e-9), ours
    assert {name: int(costs.counts[name].sum()) for name in ERRORS} == {
        names[theirs]: count for theirs, count in wanted["counts"].items()
    }
