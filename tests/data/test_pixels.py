"""Every image mode has one rule by which it becomes 8-bit RGB, or is refused by name."""

import io
import logging
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from querydet.data.pixels import PixelFormatError, check_pixel_range, is_nearly_black, to_rgb

RAMP = np.arange(12).reshape(3, 4)


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    buffer.seek(0)
    return Image.open(buffer)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bits_by_bit_depth(file_format):
    image = encoded(Image.fromarray((RAMP * 5000).astype(np.uint16)), file_format)
    expected = np.rint(RAMP * 5000 / 257)
    assert to_rgb(image).dtype == np.uint8
    assert np.array_equal(to_rgb(image), np.repeat(expected[..., None], 3, axis=2))


def test_both_byte_orders_are_one_picture():
    values = (RAMP * 5000).astype(np.uint16)
    little = Image.frombytes("I;16", (4, 3), values.astype("<u2").tobytes())
    big = Image.frombytes("I;16B", (4, 3), values.astype(">u2").tobytes())
    assert np.array_equal(to_rgb(little), to_rgb(big))


@pytest.mark.parametrize(("high", "white"), [(1.0, 255), (0.5, 128), (255.0, 255), (11.0, 11), (0.0, 0)])
def test_floats_by_range(high, white):
    values = (RAMP / 11 * high).astype(np.float32)
    found = to_rgb(encoded(Image.fromarray(values), "TIFF"))
    assert found.max() == white
    assert found.min() == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((RAMP * 1000).astype(np.int32), r"mode I: 32-bit integers from 0 to 11000.*pixel_range=\[low,high\]"),
        ((RAMP * 1000).astype(np.float32), r"mode F: floats from 0 to 11000"),
        ((RAMP - 5.0).astype(np.float32), r"mode F: floats from -5 to 6"),
        (np.full((3, 4), np.nan, np.float32), "NaN or infinite"),
        (np.full((3, 4), np.inf, np.float32), "NaN or infinite"),
    ],
)
def test_values_without_a_rule_are_refused_by_name(values, message):
    with pytest.raises(PixelFormatError, match=message):
        to_rgb(Image.fromarray(values))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_range_replaces_the_rules(dtype):
    image = Image.fromarray((RAMP * 400).astype(dtype))
    assert to_rgb(image, (0, 4400))[..., 0].max() == 255
    assert to_rgb(image, (400, 4000))[..., 0].ravel().tolist()[:2] == [0, 0]
    assert to_rgb(image, (0, 2200))[..., 0].max() == 255  # clipped, not wrapped
    assert to_rgb(image, "image")[..., 0].ravel().tolist() == np.rint(RAMP.ravel() * 255 / 11).tolist()


def test_a_flat_image_of_its_own_range_is_black():
    assert to_rgb(Image.fromarray(np.full((3, 4), 7, np.int32)), "image").max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA"])
def test_8_bits_and_less_are_three_channels(mode):
    assert to_rgb(Image.new(mode, (4, 3))).shape == (3, 4, 3)


def test_transparency_is_left_out():
    grey = Image.merge("LA", [Image.new("L", (4, 3), 70), Image.new("L", (4, 3), 0)])
    colour = Image.new("RGBA", (4, 3), (10, 20, 30, 0))
    palette = Image.new("P", (4, 3))
    palette.putpalette([10, 20, 30])
    assert to_rgb(grey)[0, 0].tolist() == [70, 70, 70]
    assert to_rgb(colour)[0, 0].tolist() == [10, 20, 30]
    for transparency in (0, bytes([0, 100])):
        assert to_rgb(encoded(palette, "PNG", transparency=transparency))[0, 0].tolist() == [10, 20, 30]


def test_one_bit_and_cmyk():
    assert to_rgb(Image.new("1", (4, 3), 1)).min() == 255
    assert to_rgb(Image.new("CMYK", (4, 3), (0, 255, 255, 0)))[0, 0].tolist() == [255, 0, 0]


def test_12_bits_in_16_are_said_once(monkeypatch, caplog):
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", Counter())
    image = Image.fromarray((RAMP * 300).astype(np.uint16))
    with caplog.at_level(logging.WARNING):
        assert is_nearly_black(to_rgb(image))
        to_rgb(image)
    assert len(caplog.records) == 1
    assert "pixel_range=[0,4095]" in caplog.text
    assert not is_nearly_black(to_rgb(Image.new("I;16", (4, 3))))  # of black there is nothing to say


@pytest.mark.parametrize("value", [[1, 1], [5, 0], [0, float("nan")], [1, 2, 3], "auto", 7, ["a", 2]])
def test_ranges_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="pixel_range must be None, 'image' or two numbers"):
        check_pixel_range(value)
