"""Images of strangers: formats, sizes, frames."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from querydet.demo import uploads
from querydet.demo.uploads import BadImageError, decode


def saved(kind, mode="RGB", size=(5, 4), **options):
    content = io.BytesIO()
    Image.new(mode, size).save(content, kind, **options)
    return content.getvalue()


def test_modes_of_images():
    for kind, modes in {"PNG": ("L", "RGBA", "P", "1", "I;16"), "JPEG": ("L", "CMYK"), "WEBP": ("RGBA",)}.items():
        for mode in modes:
            assert decode(saved(kind, mode)).size == (5, 4)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PPM", "ICNS", "TGA", "PCX", "SGI", "IM", "TIFF", "JPEG2000"])
def test_formats_that_no_browser_shows_are_not_opened(kind):
    with pytest.raises(BadImageError, match="no image of the kinds JPEG, PNG, WEBP, BMP, GIF"):
        decode(saved(kind, size=(16, 16)))


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"<svg xmlns='x'/>", b"%PDF-1.4", b""])
def test_programs_and_pages_are_no_images(content):
    with pytest.raises(BadImageError, match="no image of the kinds"):
        decode(content)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *others):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + chunk(b"IDAT", zlib.compress(bytes(10**6)))


@pytest.mark.parametrize(
    "content",
    [
        png(30_000, 30_000),
        png(9_000, 9_000),
        png(2**31 - 1, 2**31 - 1),
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(9) + b"\x02\0;",
    ],
    ids=["PNG", "PNG of 81 million", "PNG of 2^62", "BMP", "GIF"],
)
def test_large_sizes_are_refused_before_decoding(content, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(BadImageError, match="up to 64 million are decoded"):
        decode(content)


def test_many_passes_of_a_jpeg_are_refused():
    content = saved("JPEG", size=(4000, 4000), progressive=True)
    assert decode(content).size == (4000, 4000)
    scan = content[content.index(uploads.SCAN) : content.index(uploads.SCAN, content.index(uploads.SCAN) + 2)]
    with pytest.raises(BadImageError, match="very many passes"):
        decode(content[:-2] + scan * 100 + content[-2:])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_decoded(kind, monkeypatch):
    frames = [Image.fromarray(np.full((4, 5, 3), 40 * number, np.uint8)) for number in range(5)]
    content = io.BytesIO()
    frames[0].save(content, kind, save_all=True, append_images=frames[1:])
    loaded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: loaded.append(image.tell()) or load(image))
    image = decode(content.getvalue())
    assert np.asarray(image).max() < 20
    assert set(loaded) <= {0}


def test_damaged_images_are_refused_in_plain_words():
    content = saved("PNG", size=(50, 50))
    broken = [content[: len(content) // 2], content[:40] + b"\xff" * 20 + content[60:]]
    exif = Image.new("RGB", (4, 4)).getexif()
    exif[0x0112] = 6
    turned = saved("JPEG", exif=exif)
    broken.append(turned.replace(b"MM\0\x2a", b"MM\0\x2b") if b"MM" in turned else turned[:100])
    for data in broken[:2]:
        with pytest.raises(BadImageError, match=r"cannot be read as an image: it is damaged|no image"):
            decode(data)


def test_text_bombs_in_a_png_are_refused():
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))
    with pytest.raises(BadImageError, match="is damaged"):
        decode(png(10, 10, *[bomb] * 3))


def test_headers_of_very_many_parts_end_soon(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_SECONDS", 0.3)
    picture = io.BytesIO()
    Image.new("RGB", (10, 10)).save(picture, "JPEG")
    exif = b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65535 - 8)
    gif = b"GIF89a" + bytes([10, 0, 10, 0, 0x80, 0, 0]) + bytes(6) + b"!\xfe\x01a\0" * 2_000_000 + b","
    for data in (b"\xff\xd8" + exif * 800 + picture.getvalue()[2:], gif):
        start = time.monotonic()
        with pytest.raises(uploads.BadImageError, match=r"takes longer than 0\.3 s"):
            uploads.decode(data)
        assert time.monotonic() - start < 5
