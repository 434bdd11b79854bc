"""Whatever is one image is read as one, to the same pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from querydet.data.media import ImageReader
from querydet.inference.pictures import is_one_picture, read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_every_kind_has_the_same_pixels(path: Path) -> None:
    content = path.read_bytes()
    with open(path, "rb") as file:
        kinds = [path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), file, PIXELS]
        kinds += [Image.fromarray(PIXELS), Image.open(path)]
        for kind in kinds:
            assert is_one_picture(kind)
            assert np.array_equal(read_picture(kind), PIXELS)


@pytest.mark.parametrize("several", [[PIXELS], (PIXELS,), np.stack([PIXELS]), iter([PIXELS]), {"a": PIXELS}, 7, None])
def test_several_images_and_no_images_are_not_one(several: object) -> None:
    assert not is_one_picture(several)


def test_settings_of_the_reader_reach_every_kind(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(path, exif=exif)
    for kind in (path, path.read_bytes(), Image.open(path)):
        assert read_picture(kind).shape == (8, 6, 3)
    for kind in (path, path.read_bytes(), Image.open(path)):
        assert np.array_equal(read_picture(kind, ImageReader(exif="ignore")), PIXELS)


def test_what_is_no_image_is_named() -> None:
    for kind in (b"no picture", io.BytesIO(b""), io.StringIO("text")):
        with pytest.raises((ValueError, TypeError), match="an image"):
            read_picture(kind)
    with pytest.raises(TypeError, match="a path, a file, bytes, a PIL image or an array, got dict"):
        read_picture({})
