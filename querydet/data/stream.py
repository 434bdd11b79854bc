"""The training stream: every sample is a function of its position.

Position p = iteration * total_batch_size + k counts the samples of the whole run. The image at p, its augmentation and
the seed of its denoising noise are functions of (seed, p), so that stopping and resuming, the number of data workers
and the number of processes do not change the samples. Rank r of W loads k = r, r + W, ... of every batch; if W does not
divide the batch size, the first ranks have an image more.

Detectron2's `TrainingSampler`, in contrast, walks one infinite stream from its start, and the augmentation depends on
the state of the worker's generators.
"""

import contextlib
import functools
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from querydet.data.catalog import known_digests, shared_records

logger = logging.getLogger(__name__)

# First element of the keys below: makes the three uses of one seed independent.
_ORDER, _AUGMENTATION, _MODEL = 0, 1, 2
REPLACED = "replaced"  # key of a sample: names of the unusable files that it replaces
MAX_REPLACEMENTS = 16  # consecutive unreadable images before the run stops: then the data set is broken, not an image


@functools.lru_cache(maxsize=2)  # a batch can span the end of an epoch
def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """Return the order of the images in one epoch, shape (num_images,).

    Uses numpy's legacy generator, whose streams are frozen across numpy versions, so that a run can be resumed after an
    upgrade.
    """
    return np.random.RandomState(_words(seed, _ORDER, epoch)).permutation(num_images)


def image_index(seed: int, position: int, num_images: int, attempt: int = 0) -> int:
    """Return the index of the image at a position.

    Args:
        seed: of the stream.
        position: of the sample.
        num_images: number of images of the data set.
        attempt: 0 for the image itself; n > 0 for its n-th replacement, the n-th image after it in the epoch.
    """
    epoch, offset = divmod(position, num_images)
    return int(epoch_order(seed, epoch, num_images)[(offset + attempt) % num_images])


def model_seed(seed: int, position: int) -> int:
    """Return the seed, in [0, 2**62), of the random draws that the model makes for the sample at a position."""
    high, low = _words(seed, _MODEL, position)[:2]
    return (int(high) << 32 | int(low)) >> 2


@contextlib.contextmanager
def augmentation_rng(seed: int, position: int) -> Iterator[None]:
    """Seed the global CPU generators of Python, numpy and torch for one sample and restore them afterwards.

    Detectron2's augmentations draw from numpy's global generator; restoring matters without data workers, where the
    caller uses the same generators.
    """
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002
    words = _words(seed, _AUGMENTATION, position)
    try:
        random.seed(words.tobytes())
        np.random.seed(words)  # noqa: NPY002
        torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.default_generator.set_state(states[2])


def _words(seed: int, *key: int) -> np.ndarray:
    """Mix a seed and a key into four 32-bit words."""
    return np.random.SeedSequence(seed, spawn_key=key).generate_state(4)


class PositionStream(Dataset):
    """A map-style data set from positions of the stream to samples; `len()` is the number of images.

    Args:
        dataset: Detectron2 dataset dicts.
        mapper: maps a dataset dict to a sample dict, or to None for an unusable image (see the mapper's
            `on_bad_image`).
        seed: of order, augmentation and model noise, >= 0.

    Raises:
        ValueError: the data set is empty, or the seed is negative.
    """

    def __init__(self, dataset: Sequence[dict[str, Any]], mapper: Callable[[dict], dict | None], seed: int) -> None:
        if not len(dataset):
            raise ValueError("the training data set has no images")
        if seed < 0:
            raise ValueError(f"the data seed must be >= 0, got {seed}")
        self.name = getattr(dataset, "name", "")
        self.digests = known_digests(dataset)
        self._dicts = shared_records(dataset)
        self._mapper = mapper
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dicts)

    def record(self, index: int) -> dict[str, Any]:
        """Return the dataset dict of an image, by its index in the data set."""
        return self._dicts[index]

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return the sample at a position, with an integer `seed` and, if it replaces unusable images, `REPLACED`.

        Raises:
            ValueError: the image and `MAX_REPLACEMENTS` replacements were all unusable.
        """
        attempts = min(MAX_REPLACEMENTS + 1, len(self))
        tried: list[str] = []
        for attempt in range(attempts):
            record = self._dicts[image_index(self._seed, position, len(self), attempt)]
            with augmentation_rng(self._seed, position):
                sample = self._mapper(record)
            if sample is not None:
                sample["seed"] = model_seed(self._seed, position)
                if tried:
                    sample[REPLACED] = tried
                return sample
            tried.append(record["file_name"])
        raise ValueError(f"{attempts} images in a row could not be used, the data set is broken: {', '.join(tried)}")

    def file_name(self, position: int) -> str:
        """Return the file that is read at a position, for messages."""
        return str(self._dicts[image_index(self._seed, position, len(self))].get("file_name"))


class PositionSampler(Sampler[list[int]]):
    """Yields, without end, the positions of this rank's share of each iteration's batch.

    Args:
        total_batch_size: samples of one iteration over all ranks.
        rank: of this process.
        world_size: number of processes.
        start_iteration: the first iteration to yield.

    Raises:
        ValueError: a batch has fewer images than there are processes, or the start is negative.
    """

    def __init__(self, total_batch_size: int, rank: int, world_size: int, start_iteration: int = 0) -> None:
        if total_batch_size < world_size:
            raise ValueError(
                f"total_batch_size={total_batch_size} is less than an image for each of {world_size} processes: raise "
                "it or start fewer processes"
            )
        if start_iteration < 0:
            raise ValueError(f"start_iteration must be >= 0, got {start_iteration}")
        self.total_batch_size = total_batch_size
        self.start_iteration = start_iteration
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[list[int]]:
        iteration = self.start_iteration
        while True:
            first = iteration * self.total_batch_size
            yield list(range(first + self._rank, first + self.total_batch_size, self._world_size))
            iteration += 1
