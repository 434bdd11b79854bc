"""Image and video files to run a detector on."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
FALLBACK_FPS = 25.0  # frames per second where a video does not say


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One input file.

    Args:
        path: where it is.
        name: its path relative to the folder that was given, or its file name; no two inputs share one.
    """

    path: str
    name: str

    @property
    def is_video(self) -> bool:
        """Whether the suffix is a video's."""
        return self.path.lower().endswith(VIDEO_SUFFIXES)


def find_media(inputs: Sequence[str]) -> list[MediaFile]:
    """Images and videos among files and, recursively, folders; other files in folders are passed over.

    Args:
        inputs: paths.

    Returns:
        The files, sorted within every folder.

    Raises:
        FileNotFoundError: a path does not exist, or a folder has neither images nor videos.
        ValueError: a file that is neither an image nor a video by its suffix.
    """
    found: list[MediaFile] = []
    names: set[str] = set()
    for given in inputs:
        if os.path.isdir(given):
            paths = sorted(_walk(given))
            if not paths:
                raise FileNotFoundError(f"no images or videos in folder {given}")
        elif not os.path.exists(given):
            raise FileNotFoundError(f"input {given} does not exist")
        elif not given.lower().endswith(IMAGE_SUFFIXES + VIDEO_SUFFIXES):
            raise ValueError(f"input {given} is neither an image {IMAGE_SUFFIXES} nor a video {VIDEO_SUFFIXES}")
        else:
            paths = [given]
        for path in paths:
            name = os.path.relpath(path, given) if path != given else os.path.basename(path)
            name = unused_name(name, names)
            names.add(name)
            found.append(MediaFile(path, name))
    return found


def read_video(path: str) -> Iterator[np.ndarray]:
    """Yields the frames (H, W, 3), RGB, uint8 of a video.

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
    """Frames per second of a video, `FALLBACK_FPS` where it does not say; raises as `read_video`."""
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
        """Adds a frame (H, W, 3), RGB, uint8.

        Raises:
            ValueError: OpenCV cannot write such a file here.
        """
        if self._writer is None:
            codec = self._cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = self._cv2.VideoWriter(self._path, codec, self._fps, (frame.shape[1], frame.shape[0]))
            if not self._writer.isOpened():
                raise ValueError(f"OpenCV cannot write the video {self._path}")
        self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))

    def close(self) -> None:
        """Completes the file."""
        if self._writer is not None:
            self._writer.release()


def _walk(folder: str) -> Iterator[str]:
    for parent, _, files in os.walk(folder):
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES + VIDEO_SUFFIXES):
                yield os.path.join(parent, name)


def unused_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number before its suffix if it is taken."""
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
