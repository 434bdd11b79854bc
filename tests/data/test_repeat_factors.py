"""The factors are those of the paper's rule."""

import numpy as np
import pytest

from querydet.data import RepeatFactors, load_lvis
from tests.data.test_class_counts import records
from tests.lvis_vectors import lvis_vectors, write_lvis

IMAGES = records([0, 0, 1], [1], [0, 2], [], [0], [0, 3], [0], [0])  # of classes in 6, 2, 1 and 1 of 8 images


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.001, [1, 1, 1, 1, 1, 1, 1, 1]),
        (0.25, [1, 1, 2**0.5, 1, 1, 2**0.5, 1, 1]),
        (0.5, [2**0.5, 2**0.5, 2, 1, 1, 2, 1, 1]),
    ],
)
def test_an_image_has_the_factor_of_its_rarest_class(threshold, expected):
    np.testing.assert_allclose(RepeatFactors(threshold=threshold)(IMAGES), expected, rtol=1e-12)


@pytest.mark.parametrize("threshold", lvis_vectors()["repeat_factors"])
def test_factors_are_those_of_detectron2(threshold, tmp_path):
    dataset = load_lvis(write_lvis(tmp_path), "", check_files=False)
    expected = lvis_vectors()["repeat_factors"][threshold]
    np.testing.assert_allclose(RepeatFactors(threshold=float(threshold))(dataset), expected, rtol=1e-6)


def test_the_power_is_an_option():
    np.testing.assert_allclose(RepeatFactors(threshold=0.5, power=1.0)(IMAGES), [2, 2, 4, 1, 1, 4, 1, 1], rtol=1e-12)


def test_images_without_objects_have_a_factor_of_one():
    assert RepeatFactors(threshold=1.0)(records([], [0], [])).tolist() == [1, 3**0.5, 1]
    assert RepeatFactors(threshold=1.0)(records([], [])).tolist() == [1, 1]


def test_a_class_that_no_image_has_is_not_repeated():
    assert RepeatFactors(threshold=1.0).of_classes(np.array([0, 4]), 16).tolist() == [1, 2]


def test_bad_numbers_are_refused():
    for threshold in (0, -1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="threshold of repeat factors is a part of the images"):
            RepeatFactors(threshold=threshold)
    for power in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="power of repeat factors"):
            RepeatFactors(power=power)
