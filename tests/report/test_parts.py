"""Cells and pictures of a report."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from querydet.report.parts import MISSING, WIDTH, last_values, mean_text, photograph, plot, text_of
from querydet.visualization.figures import new_figure


def decoded(picture):
    kind, _, content = picture.source.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    assert kind == f"data:image/{image.format.lower()}"
    return image


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [
        ([], 1, MISSING),
        ([3.14159], 2, "3.14"),
        ([2.0, 2.0], 0, "2"),
        ([1.0, 3.0], 1, "2.0 ± 1.4"),  # of a sample: the square root of 2
    ],
)
def test_means_have_a_deviation_where_values_differ(values, digits, expected):
    assert mean_text(values, digits) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, MISSING),
        ("", MISSING),
        (0, "0"),
        (False, "False"),
        (0.25, "0.25"),
        ([1.0, None], f"1, {MISSING}"),
        ({"torch": "2.11", "numpy": None}, f"torch 2.11, numpy {MISSING}"),
    ],
)
def test_values_of_a_json_as_text(value, expected):
    assert text_of(value) == expected


def test_the_last_value_of_a_series_is_of_its_last_entry():
    assert last_values([{0: 1.0, 10: 2.0}, {5: 3.0}]) == [2.0, 3.0]


def test_a_figure_is_a_png():
    picture = plot(new_figure(2, 1), "title")
    assert picture.title == "title"
    assert decoded(picture).size == (220, 110)


def test_photographs_are_shrunk_to_the_page_and_small_ones_stay():
    assert decoded(photograph(Image.new("RGBA", (2 * WIDTH, 10)), "wide")).size == (WIDTH, 5)
    assert decoded(photograph(Image.new("L", (2, 8 * WIDTH)), "high")).size[1] == 4 * WIDTH
    pixels = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    found = decoded(photograph(pixels, "small"))
    assert found.size == (40, 30)
    assert np.abs(np.asarray(found).astype(int) - pixels).max() <= 3
