"""Images that somebody sends: few formats, a bounded size that the header says, and one frame."""

import io
import time

from PIL import Image, ImageOps, UnidentifiedImageError

from querydet.utils.image_formats import UPLOAD_FORMATS

MAX_PIXELS = 64_000_000  # decoded they are 192 MB
MAX_SCANNED_PIXELS = 10 * MAX_PIXELS  # pixels times passes over them, of a progressive JPEG: cameras make about ten
MAX_SECONDS = 20.0  # to read a file: the largest takes 4; parts of its header may be so many that it takes minutes
SCAN = b"\xff\xda"  # begins each pass of a JPEG


class BadImageError(ValueError):
    """An upload is no image that can be shown; the message is for whoever sent it."""


class _TimedBytes(io.BytesIO):
    """Bytes that are read for a limited time: decoders ask for each part of a file."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._deadline = time.monotonic() + MAX_SECONDS

    def read(self, size: int | None = -1) -> bytes:
        if time.monotonic() > self._deadline:
            raise BadImageError(f"reading this image takes longer than {MAX_SECONDS:g} s: save a new copy of it")
        return super().read(size)


def decode(data: bytes) -> Image.Image:
    """Decode the first frame of an image, rotated as its EXIF data say, to RGB.

    Args:
        data: content of the file.

    Raises:
        BadImageError: it is no image, of another format, damaged, too large, or takes too long to read.
    """
    try:
        image = Image.open(_TimedBytes(data), formats=UPLOAD_FORMATS)
        _check_size(image, data)
        return ImageOps.exif_transpose(image).convert("RGB")
    except BadImageError:
        raise
    except UnidentifiedImageError as error:
        raise BadImageError(f"this file is no image of the kinds {', '.join(UPLOAD_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise BadImageError(_too_large("more pixels")) from error
    except MemoryError as error:
        raise BadImageError("this image needs more memory than there is") from error
    except Exception as error:  # whatever a decoder makes of a stranger's bytes; its words are for the log
        raise BadImageError("this file cannot be read as an image: it is damaged") from error


def _check_size(image: Image.Image, data: bytes) -> None:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise BadImageError(_too_large(f"{image.width} x {image.height} pixels"))
    if image.format in ("JPEG", "MPO") and data.count(SCAN) * pixels > MAX_SCANNED_PIXELS:
        raise BadImageError("this JPEG is to be decoded in very many passes: save it without progressive mode")


def _too_large(what: str) -> str:
    return f"this image has {what}; up to {MAX_PIXELS // 10**6} million are decoded: send a smaller one"
