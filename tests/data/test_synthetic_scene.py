"""Boxes enclose what is drawn, and the style sets how hard it is to find."""

import numpy as np
import pytest

from querydet.data import SceneStyle
from querydet.data.synthetic_scene import Scene


def draw(seed, size=96, **style):
    return Scene(size, SceneStyle(**style), np.random.RandomState(seed)).draw()


def test_a_box_encloses_its_object():
    """With one object, no clutter and no noise, what differs from the smooth background is the object."""
    for seed in range(20):
        style = {"min_objects": 1, "max_objects": 1, "clutter": 0, "noise": 0.0, "empty_fraction": 0.0}
        image, objects = draw(seed, **style)
        rng = np.random.RandomState(seed)
        plain = Scene(96, SceneStyle(**style), rng)._canvas.round().astype(int)
        ys, xs = np.nonzero(np.abs(image.astype(int) - plain).max(axis=2) > 12)
        x, y, w, h = objects[0].box
        found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert np.abs(np.subtract(found, (x, y, x + w, y + h))).max() <= 1.3


def test_a_mask_is_the_pixels_of_the_visible_part():
    """With one object and no noise, pixels of the mask differ from the background, and those around do not."""
    for seed in range(20):
        style = {"min_objects": 1, "max_objects": 1, "clutter": 0, "noise": 0.0, "empty_fraction": 0.0}
        image, (item,) = draw(seed, **style)
        plain = Scene(96, SceneStyle(**style), np.random.RandomState(seed))._canvas.round().astype(int)
        changed = np.abs(image.astype(int) - plain).max(axis=2) > 0
        assert item.mask.dtype == bool
        assert not (item.mask & ~changed).any()
        assert (changed & ~item.mask).sum() <= 2 * (item.box[2] + item.box[3]) * 1.5  # its edge, covered by less


def test_hidden_parts_are_limited():
    for seed in range(15):
        scene = Scene(96, SceneStyle(max_objects=8, max_overlap=0.2), np.random.RandomState(seed))
        scene.draw()
        for visible, area in zip(scene._visible, scene._full_area, strict=True):
            assert visible.sum() >= 0.8 * area


def test_style_sets_the_difficulty():
    assert all(not draw(seed, empty_fraction=1.0)[1] for seed in range(5))
    counts = [len(draw(seed, min_objects=3, max_objects=3, empty_fraction=0.0, max_size=0.2)[1]) for seed in range(10)]
    assert set(counts) == {3}
    sizes = [
        max(item.box[2:])
        for seed in range(10)
        for item in draw(seed, min_size=0.1, max_size=0.12, max_stretch=1.0, empty_fraction=0.0)[1]
    ]
    assert max(sizes) <= 0.12 * 96 + 1
    quiet, noisy = (draw(3, noise=noise)[0].astype(float) for noise in (0.0, 20.0))
    assert np.abs(quiet - noisy).mean() > 8
    image, objects = draw(0, empty_fraction=1.0, clutter=0, lookalikes=4)
    assert objects == []
    assert np.abs(np.diff(image.astype(int), axis=0)).max() > 60  # unlabelled shapes have edges


@pytest.mark.parametrize(
    "style",
    [
        {"min_objects": 4, "max_objects": 3},
        {"min_objects": 0},
        {"min_size": 0.0},
        {"max_size": 1.5},
        {"max_stretch": 0.5},
        {"max_overlap": 1.0},
        {"empty_fraction": 2.0},
        {"noise": -1.0},
    ],
)
def test_bad_styles(style):
    with pytest.raises(ValueError, match="scene style needs"):
        SceneStyle(**style)


@pytest.mark.parametrize("name", ["max_objects", "clutter", "lookalikes"])
def test_an_image_is_drawn_in_bounded_time(name):
    with pytest.raises(ValueError, match=f"scene style needs {name} <= 1000, got 1000000"):
        SceneStyle(**{name: 10**6})
