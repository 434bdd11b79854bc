"""Sizes against the official rule's hand-computed numbers, and what the random parts may give."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from querydet.data import ResizeShortSide, detr_test_augmentations, detr_train_augmentations


def apply(augmentations, height, width, seed=0):
    np.random.seed(seed)  # noqa: NPY002 - what Detectron2's augmentations draw from
    augmented = T.AugInput(np.zeros((height, width, 3), np.uint8))
    transforms = T.AugmentationList(augmentations)(augmented)
    return augmented.image, transforms


@pytest.mark.parametrize(
    ("height", "width", "floor", "nearest"),
    [
        (480, 640, (800, 1066), (800, 1067)),
        (375, 500, (800, 1066), (800, 1067)),
        (640, 480, (1066, 800), (1067, 800)),
        (427, 640, (800, 1199), (800, 1199)),
        (200, 640, (417, 1334), (417, 1333)),  # the official rule may exceed the maximum by a pixel
        (640, 200, (1334, 417), (1333, 417)),
        (500, 500, (800, 800), (800, 800)),
        (1, 5000, (1, 1333), (1, 1333)),  # the official code, Detectron2: no pixels at all
    ],
)
def test_test_size(height, width, floor, nearest):
    resize = {rounding: ResizeShortSide((800,), 1333, rounding) for rounding in ("floor", "nearest")}
    assert resize["floor"].output_size(height, width, 800) == floor
    assert resize["nearest"].output_size(height, width, 800) == nearest


def test_test_augmentation_is_one_resize():
    image, _ = apply(detr_test_augmentations(), 480, 640)
    assert image.shape == (800, 1066, 3)


def test_no_resize_gives_an_empty_image():
    for side in (1, 2, 3):
        height, width = ResizeShortSide((480,), 1333).output_size(side, 3000, 480)
        assert min(height, width) >= 1


def test_train_sizes_are_the_official_ones():
    shorts = set()
    for seed in range(60):
        image, _ = apply(detr_train_augmentations(crop_prob=0.0), 480, 640, seed)
        shorts.add(min(image.shape[:2]))
        assert max(image.shape[:2]) <= 1333
    assert shorts == set(range(480, 801, 32))


def test_crop_sides_are_in_range():
    for seed in range(40):
        _, transforms = apply(detr_train_augmentations(flip_prob=0.0, crop_prob=1.0), 480, 640, seed)
        crop = next(t for t in transforms.transforms if type(t).__name__ == "CropTransform")
        assert 384 <= crop.h <= 600
        assert 384 <= crop.w <= 600


def test_crop_of_a_small_image_is_the_image():
    small = detr_train_augmentations(
        flip_prob=0, short_sides=[64], max_side=100, crop_prob=1.0, crop_short_sides=[48], crop_sides=[96, 128]
    )
    _, transforms = apply(small, 64, 64)
    crop = next(t for t in transforms.transforms if type(t).__name__ == "CropTransform")
    assert (crop.h, crop.w) == (48, 48)


def test_flip_moves_a_box_with_its_pixels():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 5:15] = 255
    augmented = T.AugInput(image, boxes=np.array([[5.0, 10.0, 15.0, 20.0]]))
    T.AugmentationList(detr_train_augmentations(flip_prob=1.0, short_sides=[80], max_side=200, crop_prob=0.0))(
        augmented
    )
    x0, y0, x1, y1 = augmented.boxes[0].round().astype(int)
    assert (x0, y0, x1, y1) == (90, 20, 110, 40)
    assert augmented.image[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].min() == 255
    assert augmented.image[:, : x0 - 3].max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_sides": []}, "sizes must be positive"),
        ({"short_sides": [0]}, "sizes must be positive"),
        ({"max_side": -1}, "sizes must be positive"),
        ({"crop_sides": [600, 384]}, "crop_sides must be"),
        ({"crop_sides": [0, 384]}, "crop_sides must be"),
        ({"rounding": "up"}, "rounding must be one of"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        detr_train_augmentations(**options)
