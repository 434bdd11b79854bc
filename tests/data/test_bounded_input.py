"""No augmentation makes an image that fills the memory."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from querydet.data.augmentation import ResizeShortSide, detr_test_augmentations, detr_train_augmentations
from querydet.data.bounded_input import MAX_PIXELS, BoundedInput
from querydet.utils.targets import VARIABLE
from tests.limits import bounded_memory

IMAGE = np.zeros((40, 50, 3), np.uint8)

LARGE = {
    "short side": lambda: ResizeShortSide([100_000]),
    "one of two": lambda: ResizeShortSide([99_999, 100_000]),
    "detectron2's short side": lambda: T.ResizeShortestEdge([100_000, 100_000], 10**9),
    "size": lambda: T.Resize((100_000, 100_000)),
    "scale": lambda: T.ResizeScale(1000.0, 1000.0, 10_000, 10_000),
    "extent": lambda: T.RandomExtent((10_000.0, 10_000.0), (0, 0)),
    "random size": lambda: T.RandomResize([(100_000, 100_000)]),
    "padded crop": lambda: T.FixedSizeCrop((100_000, 100_000)),
    "many rotations": lambda: T.AugmentationList([T.RandomRotation([45.0, 45.0])] * 40),
    "nested": lambda: T.RandomApply(T.AugmentationList([T.NoOpTransform(), T.Resize((100_000, 100_000))]), 1.0),
}


@pytest.mark.parametrize("name", LARGE)
def test_images_that_fill_the_memory_are_refused_by_the_name_of_the_key(name, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with bounded_memory(megabytes=1500), pytest.raises(ValueError, match=r"makes an image of \d+ .*mapper\.augment"):
        T.AugmentationList([LARGE[name]()])(BoundedInput(IMAGE))


def test_large_images_may_be_given_and_made_smaller(monkeypatch):
    image = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (MAX_PIXELS // 1000 + 10, 2000, 3))
    given = BoundedInput(image)
    T.AugmentationList([T.NoOpTransform(), T.CropTransform(0, 0, 1900, MAX_PIXELS // 1000)])(given)
    assert given.image.shape[:2] == (MAX_PIXELS // 1000, 1900)


def test_the_limit_can_be_lifted(monkeypatch):
    monkeypatch.setattr("querydet.data.bounded_input.MAX_PIXELS", 100)
    monkeypatch.setenv(VARIABLE, "*")
    given = BoundedInput(IMAGE)
    T.AugmentationList([T.Resize((80, 100))])(given)
    assert given.image.shape[:2] == (80, 100)


@pytest.mark.parametrize("shape", [(1, 300_000), (300_000, 1), (2, 300_000), (3, 70_000)])
def test_lines_do_not_grow(shape):
    """A side of a pixel cannot shrink, and training's first resize has no longest side."""
    for augmentations in (detr_test_augmentations(), detr_train_augmentations(crop_prob=1.0)):
        given = BoundedInput(np.zeros((*shape, 3), np.uint8))
        T.AugmentationList(augmentations)(given)
        assert max(given.image.shape) <= 2 * 1333
