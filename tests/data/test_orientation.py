"""The EXIF orientation: the same rule for every number, also the mirrored ones, and for every file format."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from querydet.data.orientation import check_exif_rule, orient, orientation_of, size_as_read, stored_size

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def encoded(orientation, file_format="PNG", pixels=PIXELS):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=file_format, exif=exif)
    buffer.seek(0)
    return Image.open(buffer)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_applied_and_ignored_once_in_every_format(orientation, file_format):
    expected = np.asarray(ImageOps.exif_transpose(encoded(orientation)))
    assert np.array_equal(np.asarray(orient(encoded(orientation, file_format))), expected)
    assert np.array_equal(np.asarray(orient(encoded(orientation, file_format), "ignore")), PIXELS)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("rule", ["apply", "ignore", "match"])
@pytest.mark.parametrize("size", [(8, 6), (6, 8), None])
def test_the_head_of_a_file_says_the_size_that_is_read(file_format, orientation, rule, size):
    head = encoded(orientation, file_format)
    assert stored_size(head) == (8, 6)
    assert size_as_read(head, rule, size) == orient(encoded(orientation, file_format), rule, size).size


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_match_follows_the_annotated_size(orientation):
    assert orient(encoded(orientation), "match", (6, 8)).size == (6, 8)
    assert np.array_equal(np.asarray(orient(encoded(orientation), "match", (8, 6))), PIXELS)
    assert orient(encoded(orientation), "match", (5, 5)).size == (6, 8)  # neither: turned


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_match_turns_where_both_have_the_size(orientation):
    turned = np.asarray(orient(encoded(orientation), "match", (8, 6)))
    assert np.array_equal(turned, np.asarray(orient(encoded(orientation))))
    assert not np.array_equal(turned, PIXELS)


def test_damaged_metadata_turn_nothing(monkeypatch):
    image = encoded(6)

    def fail():
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(image, "getexif", fail)
    assert orientation_of(image) == 1
    assert orientation_of(encoded(9)) == 1


def test_unknown_rule():
    with pytest.raises(ValueError, match=r"exif must be one of .*'match'"):
        check_exif_rule("auto")
