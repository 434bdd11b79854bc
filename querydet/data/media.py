"""Image and video files as input of a detector."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
FALLBACK_FPS = 25.0  # frames per second of a video that does not specify it


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
    """Collect images and videos from files and, recursively, folders; other files in folders are skipped.

    Args:
        inputs: paths of files and folders.

    Returns:
        The files, sorted within each folder.

    Raises:
        FileNotFoundError: a path does not exist, or a folder has neither images nor videos.
        ValueError: the suffix of a source file is neither that of an image nor that of a video.
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
            yield np.ascontiguousarray(frame[:, :, ::-1])
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
        self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def _walk(folder: str) -> Iterator[str]:
    for parent, _, files in os.walk(folder):
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES + VIDEO_SUFFIXES):
                yield os.path.join(parent, name)


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
