"""The kinds of errors of TIDE, by hand."""

from dataclasses import replace

import numpy as np
import torch

from querydet.evaluation.errors import Kind, Objects, Range, find_errors
from querydet.utils.run_lengths import encode_masks
from tests.evaluation.test_coco_backend import random_case

HERE, THERE = [100, 100, 100, 100], [600, 600, 50, 50]  # x, y, w, h


def objects(*items):
    """Objects of (class, box[, crowd])."""
    boxes = np.array([item[1] for item in items], dtype=np.float64).reshape(-1, 4)
    labels = np.array([item[0] for item in items], dtype=np.int64)
    crowd = np.array([len(item) > 2 for item in items], dtype=bool)
    return Objects(boxes, labels, boxes[:, 2] * boxes[:, 3], crowd)


def rows(*items):
    """Detections of (class, box, score)."""
    return np.array([[*box, score, label] for label, box, score in items], dtype=np.float64).reshape(-1, 6)


def kinds(detections, truth, **options):
    return [Kind(kind).name for kind in find_errors(rows(*detections), objects(*truth), **options).kinds]


def shifted(pixels):
    return [100 + pixels, 100, 100, 100]


def test_the_kinds_of_errors():
    truth = [(0, HERE), (1, THERE)]
    assert kinds([(0, HERE, 0.9), (0, shifted(5), 0.8)], truth) == ["RIGHT", "DUPLICATE"]
    assert kinds([(1, shifted(5), 0.9)], truth) == ["CLASSIFICATION"]
    assert kinds([(0, shifted(60), 0.9)], truth) == ["LOCALISATION"]  # IoU 0.25
    assert kinds([(1, shifted(60), 0.9)], truth) == ["BOTH"]
    assert kinds([(0, shifted(85), 0.9)], truth) == ["BACKGROUND"]  # IoU 0.081
    assert kinds([(0, [300, 300, 20, 20], 0.9)], truth) == ["BACKGROUND"]
    assert kinds([(0, HERE, 0.9)], []) == ["BACKGROUND"]


def test_thresholds_belong_to_the_upper_side():
    half = [100, 100, 100, 50]
    assert kinds([(0, half, 0.9)], [(0, HERE)]) == ["RIGHT"]
    assert kinds([(0, half, 0.9)], [(0, HERE)], positive=0.6) == ["LOCALISATION"]
    assert kinds([(0, [100, 100, 100, 10], 0.9)], [(0, HERE)]) == ["LOCALISATION"]
    assert kinds([(0, [100, 100, 100, 10], 0.9)], [(0, HERE)], background=0.2) == ["BACKGROUND"]


def test_missed_is_what_no_better_box_or_class_would_find():
    def missed(*detections):
        return find_errors(rows(*detections), objects((0, HERE), (1, THERE))).missed.tolist()

    assert missed() == [True, True]
    assert missed((0, shifted(60), 0.9)) == [False, True]  # localisation
    assert missed((1, HERE, 0.9)) == [False, True]  # classification
    assert missed((1, shifted(60), 0.9)) == [True, True]  # both
    assert missed((0, HERE, 0.9), (1, THERE, 0.1)) == [False, False]


def test_crowd_regions_ignore_and_are_not_missed():
    truth = [(0, HERE, "crowd"), (1, THERE)]
    found = find_errors(rows((0, [110, 110, 20, 20], 0.9), (0, [140, 140, 20, 20], 0.8)), objects(*truth))
    assert [Kind(kind) for kind in found.kinds] == [Kind.IGNORED, Kind.IGNORED]
    assert found.missed.tolist() == [False, True]
    assert kinds([(0, shifted(60), 0.9)], truth) == ["BACKGROUND"]  # nothing to localise
    assert kinds([(1, HERE, 0.9)], truth) == ["BACKGROUND"]


def test_sizes_ignore_other_objects():
    small = Range(0, 32**2)
    truth = [(0, HERE), (0, [600, 600, 20, 20])]
    found = find_errors(
        rows((0, HERE, 0.9), (0, [0, 0, 90, 90], 0.8), (0, [0, 0, 9, 9], 0.7)), objects(*truth), size=small
    )
    assert found.counted.tolist() == [False, False, True]
    assert found.missed.tolist() == [False, True]


def test_only_the_best_detections_of_a_class_count():
    found = find_errors(rows((0, HERE, 0.5), (0, THERE, 0.9), (1, HERE, 0.1)), objects((0, HERE)), max_dets=1)
    assert found.rows[:, 4].tolist() == [0.9, 0.1]


def varied(seed, crowd):
    """A random case with distinct scores and some wrong classes; images in the order of their ids."""
    content, found = random_case(seed, num_images=10, detections=25)
    rng = np.random.default_rng(seed)
    wrong = rng.uniform(size=len(found)) < 0.2
    found[wrong, 6] = rng.integers(1, 5, wrong.sum())
    found[:, 5] = rng.permutation(len(found)) / max(1, len(found))
    for item in content["annotations"]:
        item["iscrowd"] *= crowd
    return content, found


def masks_of(boxes, holes=()):
    """Run lengths of boxes x, y, w, h in an image of 1000 x 1000 pixels, without what is in the holes."""
    masks = torch.zeros(len(boxes), 1000, 1000, dtype=torch.bool)
    for mask, (x, y, w, h) in zip(masks, boxes, strict=True):
        mask[y : y + h, x : x + w] = True
        for x, y, w, h in holes:
            mask[y : y + h, x : x + w] = False
    return encode_masks(masks)


def test_masks_that_fill_their_boxes_have_the_errors_of_boxes():
    truth = [(0, HERE), (1, THERE), (0, [300, 300, 90, 90], "crowd")]
    found = [(0, shifted(step), 0.9 - step / 100) for step in (5, 0, 60, 85)]
    found += [(1, shifted(5), 0.2), (0, [310, 310, 20, 20], 0.3), (1, [602, 600, 50, 50], 0.4)]
    for size in (Range(), Range(0, 32**2), Range(32**2, 96**2), Range(96**2)):
        boxes = find_errors(rows(*found), objects(*truth), size=size)
        with_masks = replace(objects(*truth), masks=masks_of([item[1] for item in truth]))
        masks = find_errors(rows(*found), with_masks, size=size, masks=masks_of([item[1] for item in found]))
        for name in ("rows", "kinds", "targets", "counted", "corrected", "asked", "found", "missed"):
            assert np.array_equal(getattr(masks, name), getattr(boxes, name)), name
        assert masks.masks == masks_of(boxes.rows[:, :4].astype(int))
        assert boxes.masks is None


def test_a_good_box_with_a_poor_mask_is_a_localisation_error():
    truth = replace(objects((0, HERE)), masks=masks_of([HERE]))
    found, frame = rows((0, HERE, 0.9)), masks_of([HERE], holes=[[110, 110, 80, 80]])  # IoU 0.36
    assert find_errors(found, truth).kinds == [Kind.RIGHT]
    errors = find_errors(found, truth, masks=frame)
    assert errors.kinds == [Kind.LOCALISATION]
    assert not errors.missed.any()
    assert find_errors(found, truth, masks=masks_of([HERE], holes=[[102, 102, 97, 97]])).kinds == [Kind.BACKGROUND]
    assert find_errors(found, truth, masks=masks_of([[0, 0, 0, 0]])).kinds == [Kind.BACKGROUND]


def test_a_detection_has_the_size_of_its_mask():
    nothing = replace(objects(), masks=[])
    small = find_errors(rows((0, HERE, 0.9)), nothing, size=Range(0, 32**2), masks=masks_of([[100, 100, 9, 9]]))
    assert small.counted.tolist() == [True]
    assert find_errors(rows((0, HERE, 0.9)), nothing, size=Range(0, 32**2)).counted.tolist() == [False]
