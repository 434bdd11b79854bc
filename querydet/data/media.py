"""Image and video files as input of a detector.

`ImageReader` is the one way from a file to pixels: for training, evaluation, prediction, pictures and `check-data`.
"""

import io
import logging
import os
import struct
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import log_first_n
from PIL import Image

from querydet.data.orientation import check_exif_rule, orient
from querydet.data.pixels import PixelRange, check_pixel_range, to_rgb
from querydet.utils.image_formats import FORMATS

IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
PAGED_FORMATS = ("GIF", "TIFF", "PNG", "WEBP")  # the further pictures of a JPEG (MPO) are previews of the first
MAX_PIXELS = "dataloader.{train,test}.mapper.max_pixels"
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
# Errors of Pillow for missing, truncated, foreign and oversized files, and of checks of their sizes and pixels.
READ_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
FALLBACK_FPS = 25.0  # frames per second of a video that does not specify it

_limit_lock = threading.Lock()  # Pillow's limit on pixels is a global


@dataclass(frozen=True)
class ImageReader:
    """Reads images as (H, W, 3), RGB, uint8.

    Args:
        exif: what to do with the EXIF orientation: "apply", "ignore", or "match" the annotated size
            (`data.orientation`).
        pixel_range: for images of more than 8 bits: the values [low, high] that become black and white, or "image";
            None for the rules of `data.pixels`.
        max_pixels: images of more pixels are refused; None for Pillow's limit, about 179 million.

    Raises:
        ValueError: a setting does not exist or makes no sense.
    """

    exif: str = "apply"
    pixel_range: PixelRange = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        check_exif_rule(self.exif)
        object.__setattr__(self, "pixel_range", check_pixel_range(self.pixel_range))
        if self.max_pixels is not None and (not isinstance(self.max_pixels, int) or self.max_pixels < 1):
            raise ValueError(f"max_pixels must be an integer of at least 1 or None, got {self.max_pixels!r}")

    def __call__(self, source: Any, size: tuple[int, int] | None = None) -> np.ndarray:
        """Read one image; of several pages or frames, the first.

        Args:
            source: path, open binary file, content of a file as bytes, or a PIL image.
            size: annotated (width, height), for `exif="match"`.

        Raises:
            OSError: the file cannot be read, or is no image (`PIL.UnidentifiedImageError`).
            PIL.Image.DecompressionBombError: it has too many pixels.
            ValueError: its pixels cannot be read (`data.pixels.PixelFormatError`).
        """
        if isinstance(source, Image.Image):
            return self._pixels(source, size, str(getattr(source, "filename", "")))
        if isinstance(source, bytes | bytearray | memoryview):
            source = io.BytesIO(source)
        if hasattr(source, "read"):
            with self.open(source) as image:
                return self._pixels(image, size, str(getattr(source, "name", "")))
        with PathManager.open(os.fspath(source), "rb") as file, self.open(file) as image:
            return self._pixels(image, size, os.fspath(source))

    def open(self, file: Any) -> Image.Image:
        """Open an image without reading its pixels; raises like `__call__`."""
        try:
            if self.max_pixels is None:
                return Image.open(file, formats=list(FORMATS))
            with _limit_lock:
                limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                try:
                    image = Image.open(file, formats=list(FORMATS))
                finally:
                    Image.MAX_IMAGE_PIXELS = limit
        except Image.DecompressionBombError as error:
            raise Image.DecompressionBombError(f"{error} To read it, set {MAX_PIXELS} to more than that.") from error
        if image.width * image.height > self.max_pixels:
            raise Image.DecompressionBombError(
                f"the image has {image.width} x {image.height} pixels, more than {MAX_PIXELS}={self.max_pixels}"
            )
        return image

    def _pixels(self, image: Image.Image, size: tuple[int, int] | None, name: str) -> np.ndarray:
        file_format = image.format
        if has_pages(image):
            text = "has several pages or frames: of such files the first is used (said once)"
            log_first_n(logging.WARNING, f"{name or 'an image'} {text}")
        return to_rgb(orient(image, self.exif, size), self.pixel_range, file_format, name)


def reader_of(mapper: Any) -> ImageReader:
    """Return the reader of a mapper, or of its node in a config; the default one for mappers of another kind."""
    if isinstance(mapper, Mapping):
        given: dict[str, Any] = {key: mapper[key] for key in ("exif", "pixel_range", "max_pixels") if key in mapper}
        return ImageReader(**given)
    found = getattr(mapper, "reader", None)
    return found if isinstance(found, ImageReader) else ImageReader()


def read_record(record: Mapping[str, Any], mapper: Any = None) -> np.ndarray:
    """Read the image of a Detectron2 dataset dict as a mapper reads it, (H, W, 3), RGB, uint8; raises like it."""
    size = (record["width"], record["height"]) if {"width", "height"} <= record.keys() else None
    return reader_of(mapper)(record["file_name"], size)


def has_pages(image: Image.Image) -> bool:
    """Return whether a file has several pages or frames, of which Pillow shows one."""
    return image.format in PAGED_FORMATS and bool(getattr(image, "is_animated", False))


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One input file.

    Args:
        path: path of the file.
        name: unique name: the path relative to the input folder, or the file name.
    """

    path: str
    name: str

    @property
    def is_video(self) -> bool:
        """Return whether the suffix is that of a video."""
        return self.path.lower().endswith(VIDEO_SUFFIXES)


def find_media(inputs: Sequence[str]) -> list[MediaFile]:
    """Collect images and videos from files and, recursively, folders; whatever else is in folders is skipped.

    Args:
        inputs: paths of files and folders.

    Returns:
        The files, sorted within each folder.

    Raises:
        FileNotFoundError: a path does not exist, or a folder has neither images nor videos.
        ValueError: a source is no file, or its suffix is neither that of an image nor that of a video.
    """
    files: list[MediaFile] = []
    names: set[str] = set()
    for source in inputs:
        if os.path.isdir(source):
            paths = sorted(_walk(source))
            if not paths:
                raise FileNotFoundError(f"no images or videos in folder {source}")
        elif not os.path.exists(source):
            raise FileNotFoundError(f"input {source} does not exist")
        elif not os.path.isfile(source):
            raise ValueError(f"input {source} is no file: it is a device or a named pipe, which might never end")
        elif not source.lower().endswith(IMAGE_SUFFIXES + VIDEO_SUFFIXES):
            raise ValueError(f"input {source} is neither an image {IMAGE_SUFFIXES} nor a video {VIDEO_SUFFIXES}")
        else:
            paths = [source]
        for path in paths:
            name = os.path.relpath(path, source) if path != source else os.path.basename(path)
            name = unused_name(name, names)
            names.add(name)
            files.append(MediaFile(path, name))
    return files


def read_video(path: str) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3), RGB, uint8 of a video.

    Raises:
        ImportError: OpenCV is not installed.
        ValueError: OpenCV cannot read the file.
    """
    capture = _open_capture(path)
    try:
        while True:
            more, frame = capture.read()
            if not more:
                return
            yield _opencv().cvtColor(frame, _opencv().COLOR_BGR2RGB)
    finally:
        capture.release()


def video_fps(path: str) -> float:
    """Return the frames per second of a video, `FALLBACK_FPS` if unspecified; raises like `read_video`."""
    capture = _open_capture(path)
    fps = float(capture.get(_opencv().CAP_PROP_FPS))
    capture.release()
    return fps if 0 < fps < 1000 else FALLBACK_FPS


class VideoSink:
    """Writes frames of one size as an mp4 file.

    Args:
        path: the file, ending in .mp4.
        fps: frames per second.

    Raises:
        ImportError: OpenCV is not installed.
    """

    def __init__(self, path: str, fps: float) -> None:
        self._cv2 = _opencv()
        self._path = path
        self._fps = fps
        self._writer: Any = None

    def write(self, frame: np.ndarray) -> None:
        """Append a frame (H, W, 3), RGB, uint8.

        Raises:
            ValueError: OpenCV cannot write the file.
        """
        if self._writer is None:
            codec = self._cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = self._cv2.VideoWriter(self._path, codec, self._fps, (frame.shape[1], frame.shape[0]))
            if not self._writer.isOpened():
                raise ValueError(f"OpenCV cannot write the video {self._path}")
        self._writer.write(self._cv2.cvtColor(frame, self._cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def _walk(folder: str) -> Iterator[str]:
    for parent, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(parent, name)
            if name.lower().endswith(IMAGE_SUFFIXES + VIDEO_SUFFIXES) and os.path.isfile(path):
                yield path


def unused_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number before its suffix if it is taken."""
    stem, suffix = os.path.splitext(name)
    count = 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}{suffix}"
    return name


def _open_capture(path: str) -> Any:
    capture = _opencv().VideoCapture(path)
    if not capture.isOpened():
        raise ValueError(f"OpenCV cannot read the video {path}")
    return capture


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError("videos need OpenCV: pip install opencv-python-headless") from error
    return cv2
