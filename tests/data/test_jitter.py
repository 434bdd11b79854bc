"""Large-scale jitter: always a square, with what Detectron2's transforms draw, and padding that is no object."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from querydet.data.bounded_input import BoundedInput
from querydet.data.jitter import ResizeToScale, large_scale_jitter


def augment(image, seed, **options):
    np.random.seed(seed)  # noqa: NPY002 - Detectron2 draws from it
    given = BoundedInput(image)
    transforms = T.AugmentationList(large_scale_jitter(**options))(given)
    return given.image, transforms


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [(60, 80), (80, 60), (1, 300), (300, 2), (7, 7)])
def test_every_image_becomes_the_square(size, seed):
    image, transforms = augment(np.full((*size, 3), 7, np.uint8), seed, image_size=64)
    assert image.shape == (64, 64, 3)
    shown = transforms.apply_segmentation(np.ones(size, np.uint8))
    assert set(np.unique(shown)) <= {0, 1}
    assert all(np.array_equal(channel, np.where(shown == 1, 7, 128)) for channel in image.transpose(2, 0, 1))


@pytest.mark.parametrize("seed", range(12))
def test_the_draws_are_those_of_detectron2(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    ours, _ = augment(image, seed, image_size=48)
    np.random.seed(seed)  # noqa: NPY002
    theirs = T.AugInput(image)
    published = [T.RandomFlip(), T.ResizeScale(0.1, 2.0, 48, 48), T.FixedSizeCrop(crop_size=(48, 48))]
    T.AugmentationList(published)(theirs)
    assert np.array_equal(ours, theirs.image)


def test_one_draw_moves_the_crop_in_both_directions(monkeypatch):
    crop = large_scale_jitter(image_size=40)[2]
    monkeypatch.setattr(np.random, "uniform", lambda low, high: 0.25)
    cut = crop.get_transform(np.zeros((80, 120, 3), np.uint8)).transforms[0]
    assert (cut.x0, cut.y0) == (20, 10)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, (48, 64)), (0.5, (24, 32)), (2.0, (96, 128))])
def test_at_scale_one_the_image_fits_the_square(scale, expected):
    resize = ResizeToScale(scale, scale, 64, 64).get_transform(np.zeros((60, 80, 3), np.uint8))
    assert (resize.new_h, resize.new_w) == expected


def test_no_side_vanishes():
    resize = ResizeToScale(0.1, 0.1, 64, 64).get_transform(np.zeros((1, 300, 3), np.uint8))
    assert (resize.new_h, resize.new_w) == (1, 6)


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 0},
        {"min_scale": 0.0},
        {"min_scale": 2.0, "max_scale": 1.0},
        {"flip_prob": 1.5},
        {"pad_value": 256},
        {"min_scale": float("nan")},
    ],
)
def test_numbers_out_of_range(options):
    with pytest.raises(ValueError, match="need "):
        large_scale_jitter(**options)


def test_a_square_that_fills_the_memory_is_refused():
    with pytest.raises(ValueError, match="makes an image of"):
        augment(np.zeros((40, 50, 3), np.uint8), 0, image_size=100_000)
