"""Boxes and labels look as Detectron2's `Visualizer` draws them, and any label can be drawn."""

import threading

import cv2
import numpy as np
import pytest
from detectron2.utils.visualizer import Visualizer

from querydet.visualization.box_painting import MOST_LETTERS, enlarge, paint_boxes

RED, GREEN, BLUE = (1.0, 0.15, 0.15), (0.2, 0.9, 0.3), (0.35, 0.35, 1.0)
BOXES = np.array([[20.0, 30, 200, 220], [10, 10, 60, 40], [220, 150, 310, 238], [240, 20, 270, 140]])
LABELS = ["person 93%", "a gj 50%", "lower 8%", "Größe 70%"]
COLORS = [RED, GREEN, BLUE, GREEN]


def picture(height: int = 240, width: int = 320) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(60, 200, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("part", [0.5, 1])
def test_a_picture_is_nearly_that_of_the_visualizer(scale: int, part: float) -> None:
    image, boxes = picture(), BOXES * part
    visualizer = Visualizer(image, scale=scale, font_size_scale=1.6)
    visualizer.overlay_instances(boxes=boxes, labels=LABELS, assigned_colors=COLORS, alpha=1.0)
    expected = visualizer.output.get_image().astype(int)
    painted = paint_boxes(image, boxes, LABELS, COLORS, scale, 1.6).astype(int)
    assert painted.shape == expected.shape
    changed = np.abs(expected - enlarge(image, scale)).max(axis=2) > 30
    differs = np.abs(painted - expected).max(axis=2) > 60
    assert changed.sum() > 1000
    assert differs.sum() < 0.35 * changed.sum()  # edges of lines and letters, which Matplotlib blurs
    near = cv2.dilate(changed.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert not differs[~near].any()


def test_a_border_lies_on_its_edge_and_is_half_transparent() -> None:
    grey = np.full((240, 320, 3), 128, np.uint8)
    painted = paint_boxes(grey, BOXES[:1], [""], [RED], 1, 1.0).astype(int)
    middle = (np.array(RED) * 255 + 128) / 2
    for y, x in ((100, 20), (100, 200), (30, 100), (220, 100), (30, 20), (219, 199)):
        patch = painted[y - 1 : y + 2, x - 1 : x + 2]
        assert np.abs(patch - middle).max(axis=2).min() <= 2
    assert (painted[40:210, 30:190] == 128).all()
    assert (painted[:20] == 128).all()
    corner = painted[28:34, 18:24].reshape(-1, 3)  # painted once, not twice
    assert {tuple(color) for color in corner} <= {(128, 128, 128), tuple(painted[100, 20])}


def test_small_boxes_lie_over_large_ones_and_the_image_is_not_changed() -> None:
    image = picture()
    before = image.copy()
    order = [1, 0]
    one = paint_boxes(image, BOXES[:2], LABELS[:2], COLORS[:2], 1, 1.0)
    other = paint_boxes(image, BOXES[order], [LABELS[i] for i in order], [COLORS[i] for i in order], 1, 1.0)
    assert np.array_equal(one, other)
    assert np.array_equal(image, before)


def test_without_boxes_the_picture_is_the_enlarged_image() -> None:
    image = picture(12, 16)
    painted = paint_boxes(image, np.zeros((0, 4)), [], [], 3, 1.6)
    assert np.array_equal(painted, image.repeat(3, axis=0).repeat(3, axis=1))
    assert np.array_equal(paint_boxes(image, np.zeros((0, 4)), [], [], 1, 1.6), image)


@pytest.mark.parametrize(
    "label", ["two\nlines", "$x_1", "a $b$ c", "\ud800", "犬", "\u202eabc", "tab\t", "x" * 10**6, " "]
)
def test_any_label_is_drawn(label: str) -> None:
    painted = paint_boxes(picture(), BOXES[:1], [label], [RED], 1, 1.6)
    assert (painted != paint_boxes(picture(), BOXES[:1], [""], [RED], 1, 1.6)).any()


def test_a_long_label_is_cut() -> None:
    pictures = [
        paint_boxes(picture(), BOXES[:1], ["i" * count], [RED], 1, 1.6) for count in (MOST_LETTERS, MOST_LETTERS + 9)
    ]
    assert np.array_equal(*pictures)


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 5], [5, 5, 6, 6], [-50, -50, 500, 500], [10, 239, 300, 239], [1e6, 1e6, 2e6, 2e6]]
)
def test_any_box_is_drawn(box: list[float]) -> None:
    assert paint_boxes(picture(), np.array([box]), ["a"], [RED], 1, 1.6).shape == (240, 320, 3)


def test_pictures_that_threads_paint_at_the_same_time_are_equal() -> None:
    pictures: list[np.ndarray] = []

    def paint() -> None:
        pictures.extend(paint_boxes(picture(), BOXES, LABELS, COLORS, 2, 1.6) for _ in range(5))

    threads = [threading.Thread(target=paint) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(pictures) == 20
    assert all(np.array_equal(one, pictures[0]) for one in pictures)
