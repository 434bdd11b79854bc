"""Detection on any number of images, while others are read and resized.

Files are read by several threads, images are resized by one, and the model runs in the caller's thread. Every image has
a result, in the order of the images: its detections, or the error of this image.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from detectron2.structures import Instances

from querydet.evaluation.prediction import ArrayPredictor
from querydet.inference.like_sizes import Size, run_in_batches
from querydet.utils.ahead import map_ahead

READERS = max(2, min(4, os.cpu_count() or 1))  # threads; ours: one decodes ten photographs of 12 megapixels a second
S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class Prediction(Generic[S]):
    """The detections on one of many images, or why there are none.

    Args:
        source: the image, as it was given.
        pixels: (H, W, 3), RGB, uint8; None where it cannot be read.
        instances: its detections, as of `Predictor.__call__`; None where there is an error.
        error: what went wrong with this image; None if nothing did.
    """

    source: S
    pixels: np.ndarray | None = None
    instances: Instances | None = None
    error: Exception | None = None

    def detections(self) -> Instances:
        """Return the detections.

        Raises:
            Exception: the error, if there is one.
        """
        if self.error is not None:
            raise self.error
        assert self.instances is not None
        return self.instances


@dataclass(frozen=True, slots=True, eq=False)
class _Input(Generic[S]):
    """An image on its way to the model."""

    found: Prediction[S]
    values: dict[str, Any] | None = None  # of the model; None where the image cannot be used

    @property
    def size(self) -> Size:
        """Return the size that the model sees; that of a pixel for an image that it does not see."""
        height, width = (1, 1) if self.values is None else self.values["image"].shape[-2:]
        return height, width


def predict_stream(
    predictor: ArrayPredictor, read: Callable[[Any], np.ndarray], images: Iterable[S], batch_size: int
) -> Generator[Prediction[S], None, None]:
    """Yield the predictions of images in their order.

    Paths and bytes are read ahead. Whatever else is read as soon as it is taken, in the caller's thread: its owner may
    change or close it afterwards.

    Args:
        predictor: prepares images and detects.
        read: reads an image as (H, W, 3), RGB, uint8; safe in threads for paths and bytes.
        images: the images; those of about seven batches are in memory, or five images if a batch has one.
        batch_size: largest number of images of a forward pass, which are of like sizes (`like_sizes`).

    Raises:
        Exception: what `images` raise, after the predictions of the images before it; and an error of the device, after
            which it computes nothing.
    """
    given = (_take(image, read) for image in images)
    loaded = map_ahead(lambda found: _load(found, read), given, threads=READERS, ahead=max(batch_size, 2))
    # one thread: augmentations may draw random numbers, which have to come in the order of the images
    prepared = map_ahead(lambda found: _prepare(found, predictor), loaded, threads=1, ahead=batch_size)
    with contextlib.closing(prepared):
        yield from run_in_batches(
            lambda batch: _detect(batch, predictor), prepared, lambda image: image.size, batch_size
        )


def _take(image: S, read: Callable[[Any], np.ndarray]) -> Prediction[S]:
    found = Prediction(image)
    if isinstance(image, str | os.PathLike | bytes):
        return found
    found = _load(found, read)
    if isinstance(image, np.ndarray) and found.pixels is not None:
        return replace(found, pixels=found.pixels.copy())
    return found


def _load(found: Prediction[S], read: Callable[[Any], np.ndarray]) -> Prediction[S]:
    if found.pixels is not None or found.error is not None:
        return found
    try:
        return replace(found, pixels=read(found.source))
    except Exception as error:
        return replace(found, error=error)


def _prepare(found: Prediction[S], predictor: ArrayPredictor) -> _Input[S]:
    if found.pixels is None:
        return _Input(found)
    try:
        return _Input(found, predictor.prepare(found.pixels))
    except Exception as error:
        return _Input(replace(found, error=error))


def _detect(batch: Sequence[_Input[S]], predictor: ArrayPredictor) -> list[Prediction[S]]:
    """Detect on the images that can be used; if that fails, on each alone, so that it fails for those that are why."""
    usable = [image.values for image in batch if image.values is not None]
    try:
        detections = iter(predictor.detect_prepared(usable) if usable else ())
    except torch.AcceleratorError:
        raise
    except Exception as error:
        if len(batch) == 1:
            return [replace(batch[0].found, error=error)]
        return [found for image in batch for found in _detect([image], predictor)]
    return [
        image.found if image.values is None else replace(image.found, instances=next(detections)) for image in batch
    ]
