"""Outlines in every form become the pixels that pycocotools makes of them; what cannot be read is refused by kind."""

import itertools
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from querydet.data.masks import BadOutlineError, box_of_extent, read_outline, to_bitmap, to_run_lengths

H, W = 30, 40
SQUARE = [5, 6, 15, 6, 15, 16, 5, 16]


def random_polygons(rng, height=H, width=W, beyond=0.0):
    """One to three polygons that may leave the image by a share of its sides, and may cross themselves."""
    polygons = []
    for _ in range(rng.integers(1, 4)):
        points = rng.uniform(-beyond, 1 + beyond, (rng.integers(3, 12), 2)) * (width, height)
        polygons.append(points.reshape(-1).round(rng.integers(0, 4)).tolist())
    return polygons


def random_bitmap(rng, height=H, width=W):
    """Blobs, noise, a pixel, all or nothing."""
    density = rng.choice([0.0, 1.0, 0.02, 0.5, 0.9])
    return rng.uniform(size=(height, width)) < density


def list_counts(bitmap):
    """The run lengths of COCO's json of crowds, from the definition: down the columns, zeros first."""
    runs = [(value, len(list(group))) for value, group in itertools.groupby(bitmap.flatten(order="F").tolist())]
    counts = [length for _, length in runs]
    return {"size": list(bitmap.shape), "counts": [0, *counts] if runs[0][0] else counts}


def text_counts(bitmap):
    encoded = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    return {"size": list(bitmap.shape), "counts": encoded["counts"].decode()}


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("beyond", [0.0, 0.7, 5.0])
def test_polygons_are_rasterised_as_pycocotools_does(seed, beyond):
    rng = np.random.default_rng(seed)
    polygons = random_polygons(rng, beyond=beyond)
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, H, W))).astype(bool)
    read = read_outline(polygons, H, W).segmentation
    for form in (polygons, read, [np.asarray(polygon) for polygon in polygons]):
        bitmap = to_bitmap(form, H, W)
        assert bitmap.dtype == bool
        assert bitmap.flags.c_contiguous
        assert np.array_equal(bitmap, expected)
    run_lengths = to_run_lengths(polygons, H, W)
    assert json.loads(json.dumps(run_lengths)) == run_lengths
    assert np.array_equal(coco_mask.decode(run_lengths), expected)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("form", [list_counts, text_counts])
def test_run_lengths_of_both_kinds_are_that_bitmap(seed, form):
    bitmap = random_bitmap(np.random.default_rng(seed))
    assert np.array_equal(to_bitmap(form(bitmap), H, W), bitmap)
    assert to_run_lengths(form(bitmap), H, W) == text_counts(bitmap)


@pytest.mark.parametrize("seed", range(10))
def test_run_lengths_of_polygons_are_those_of_their_bitmap(seed):
    polygons = random_polygons(np.random.default_rng(seed), beyond=0.3)
    assert to_run_lengths(polygons, H, W) == text_counts(to_bitmap(polygons, H, W))


def test_what_is_read_is_read_again_as_it_is():
    outline = read_outline([SQUARE, [1.5, 2.5, 3, 4, 9.25, 1]], H, W)
    again = read_outline(outline.segmentation, H, W)
    assert all(np.array_equal(one, two) for one, two in zip(outline.segmentation, again.segmentation, strict=True))
    assert [polygon.dtype for polygon in again.segmentation] == [np.float64, np.float64]
    mask = text_counts(random_bitmap(np.random.default_rng(3)))
    assert read_outline(mask, H, W).segmentation == mask


def test_a_single_flat_polygon_is_one_in_a_list():
    assert np.array_equal(to_bitmap(SQUARE, H, W), to_bitmap([SQUARE], H, W))
    assert to_bitmap(SQUARE, H, W).sum() == 100


def test_a_hole_of_run_lengths_stays_and_polygons_are_a_union():
    ring = to_bitmap(SQUARE, H, W)
    ring[9:12, 8:12] = False
    assert np.array_equal(to_bitmap(text_counts(ring), H, W), ring)
    inner = [8, 9, 12, 9, 12, 12, 8, 12]
    assert np.array_equal(to_bitmap([SQUARE, inner], H, W), to_bitmap(SQUARE, H, W))


@pytest.mark.parametrize("place", [(0, 0), (H - 1, W - 1), (7, 11)])
def test_an_object_of_one_pixel(place):
    y, x = place
    expected = np.zeros((H, W), dtype=bool)
    expected[place] = True
    for form in ([x, y, x + 1, y, x + 1, y + 1, x, y + 1], list_counts(expected), text_counts(expected)):
        assert np.array_equal(to_bitmap(form, H, W), expected)
    assert read_outline(text_counts(expected), H, W).extent == (x, y, x + 1, y + 1)


def test_an_image_of_one_pixel():
    assert to_bitmap([0, 0, 1, 0, 1, 1, 0, 1], 1, 1).tolist() == [[True]]
    assert to_bitmap({"size": [1, 1], "counts": [0, 1]}, 1, 1).tolist() == [[True]]


def test_polygons_too_thin_for_a_pixel_are_an_outline_without_pixels():
    outline = read_outline([7.1, 7.1, 7.2, 7.1, 7.15, 7.2], H, W)
    assert outline.segmentation is not None
    assert outline.extent == (7.1, 7.1, 7.2, 7.2)
    assert not to_bitmap(outline.segmentation, H, W).any()


@pytest.mark.parametrize("value", [None, [], [[]], [[1, 2, 3, 4]], {"size": [H, W], "counts": [H * W]}])
def test_no_outline(value):
    outline = read_outline(value, H, W)
    assert outline.segmentation is outline.extent is None
    assert not to_bitmap(value, H, W).any()


def test_polygons_of_fewer_than_three_points_are_left_out_and_counted():
    outline = read_outline([[1, 2, 3, 4], SQUARE, [], [5, 5]], H, W)
    assert outline.left_out == 3
    assert np.array_equal(to_bitmap(outline.segmentation, H, W), to_bitmap(SQUARE, H, W))


@pytest.mark.parametrize("shift", [(-16, 0), (0, -17), (36, 0), (0, 25), (1e30, 0), (-1e12, 1e12)])
def test_polygons_outside_are_left_out_of_the_union(shift):
    away = [value + shift[index % 2] for index, value in enumerate(SQUARE)]
    assert read_outline([away], H, W).segmentation is None
    assert read_outline([away], H, W).extent is not None
    assert np.array_equal(to_bitmap([SQUARE, away], H, W), to_bitmap(SQUARE, H, W))


BROKEN = {
    "a text": ("x", "is neither polygons nor run lengths"),
    "a number": (7, "is neither polygons nor run lengths"),
    "true": (True, "is neither polygons nor run lengths"),
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "odd number of coordinates"),
    "odd and flat": ([1, 2, 3, 4, 5, 6, 7], "odd number of coordinates"),
    "odd and short": ([SQUARE, [1, 2, 3]], "odd number of coordinates"),
    "nan": ([[1, 2, 3, 4, 5, float("nan")]], "no finite numbers"),
    "infinite": ([[1, 2, 3, 4, 5, float("-inf")]], "no finite numbers"),
    "a huge integer": ([[1, 2, 3, 4, 5, 10**400]], "no finite numbers"),
    "texts": ([["1", "2", "3", "4", "5", "6"]], "no finite numbers"),
    "null": ([[1, 2, None, 4, 5, 6]], "no finite numbers"),
    "truth values": ([[1, 2, 3, 4, 5, True]], "no finite numbers"),
    "a polygon that is none": ([SQUARE, None], "no finite numbers"),
    "an object": ([{"x": 1, "y": 2}], "no finite numbers"),
    "too deep": ([[[1, 2], [3, 4], [5, 6]]], "no finite numbers"),
    "points": ([[1, 2], [3, 4], [5, 6]], "points as pairs"),
    "far": ([[0, 0, 1e9, 0, 1e9, 1e9]], "reaches far beyond the image"),
    "far to and fro": ([[0, 0, 30000, 30000] * 1000], "reaches far beyond the image"),
    "no counts": ({"size": [H, W]}, "run lengths that cannot be used"),
    "empty object": ({}, "run lengths that cannot be used"),
    "width first": ({"size": [W, H], "counts": [H * W]}, r"size is \[40, 30\]"),
    "another size": ({"size": [H, W + 1], "counts": [H * (W + 1)]}, "run lengths that cannot be used"),
    "too few": ({"size": [H, W], "counts": [3, 4]}, "cover 7 pixels"),
    "negative": ({"size": [H, W], "counts": [H * W + 4, -4]}, "run lengths that cannot be used"),
    "fractions": ({"size": [H, W], "counts": [0.5, H * W - 0.5]}, "run lengths that cannot be used"),
    "no run lengths": ({"size": [H, W], "counts": "[1, 2, 3]"}, "run lengths that cannot be used"),
    "cut text": ({"size": [H, W], "counts": "PPPPP"}, "run lengths that cannot be used"),
    "not ascii": ({"size": [H, W], "counts": "Ä"}, "run lengths that cannot be used"),
    "null counts": ({"size": [H, W], "counts": None}, "run lengths that cannot be used"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_refused(name):
    value, message = BROKEN[name]
    for read in (read_outline, to_run_lengths, to_bitmap):
        with pytest.raises(BadOutlineError, match=message):
            read(value, H, W)


@pytest.mark.parametrize("seed", range(200))
def test_damaged_texts_are_refused_or_another_mask(seed):
    """pycocotools reads them without a check, and beyond the end of its memory."""
    rng = np.random.default_rng(seed)
    text = list(text_counts(random_bitmap(rng, 9, 11))["counts"])
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(len(text))
        text[at : at + rng.integers(0, 2)] = [chr(rng.integers(32, 128))]
    try:
        bitmap = to_bitmap({"size": [9, 11], "counts": "".join(text)}, 9, 11)
    except BadOutlineError:
        return
    assert bitmap.shape == (9, 11)


def test_images_that_32_bits_do_not_hold_have_no_masks():
    for height, width in ((2**21, 3), (3, 2**21), (2**20, 2**12)):
        with pytest.raises(BadOutlineError, match="too large for masks"):
            read_outline(SQUARE, height, width)


def test_the_box_of_an_extent_is_clipped():
    assert box_of_extent((-5.5, 3.25, 50.0, 20.0), H, W) == [0.0, 3.25, 40.0, 16.75]
