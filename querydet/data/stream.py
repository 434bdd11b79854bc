"""The training stream: every sample is a function of its position.

Position p = iteration * total_batch_size + k counts the samples of the whole run. The image at p, its augmentation and
the seed of its denoising noise are functions of (seed, p), so that stopping and resuming, the number of data workers
and the number of processes do not change the samples. Rank r of W loads k = r, r + W, ... of every batch; if W does not
divide the batch size, the first ranks have an image more.

With repeat factors (`data.repeat_factors`), an epoch has several places for some images. Which, is a closed form of the
factors and of one number drawn for each epoch (systematic sampling), so that every epoch has the same number of places.

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

# First element of the keys below: makes the uses of one seed independent.
_ORDER, _AUGMENTATION, _MODEL, _REPEATS = 0, 1, 2, 3
_PHASE_BITS = 24  # of the number drawn for an epoch: it is added to a place without rounding
REPLACED = "replaced"  # key of a sample: names of the unusable files that it replaces
MAX_REPLACEMENTS = 16  # consecutive unreadable images before the run stops: then the data set is broken, not an image


@functools.lru_cache(maxsize=2)  # a batch can span the end of an epoch
def epoch_order(seed: int, epoch: int, num_places: int) -> np.ndarray:
    """Return the order of the places of one epoch, shape (num_places,); without repeats, a place is an image.

    Uses numpy's legacy generator, whose streams are frozen across numpy versions, so that a run can be resumed after an
    upgrade.
    """
    order = np.random.RandomState(_words(seed, _ORDER, epoch)).permutation(num_places)
    return order.astype(np.int32) if num_places < 2**31 else order


def epoch_phase(seed: int, epoch: int) -> float:
    """Return the number in [0, 1) that decides which images an epoch repeats once more than others of their factor."""
    return int(_words(seed, _REPEATS, epoch)[0] >> (32 - _PHASE_BITS)) / 2**_PHASE_BITS


class EpochPlan:
    """The images of every epoch in order, each as often as its repeat factor says.

    With C the running sum of the factors, scaled so that it ends at the whole number L, and u the phase of an epoch,
    image i has `floor(C[i] + u) - floor(C[i - 1] + u)` places of the L of the epoch: its scaled factor, rounded up or
    down, and over many epochs its scaled factor on average.

    Args:
        num_images: number of images of the data set.
        seed: of the stream.
        factors: how often each image comes in an epoch on average, (num_images,); None: once.

    Raises:
        ValueError: the factors are not one positive number for each image.
    """

    def __init__(self, num_images: int, seed: int, factors: np.ndarray | None = None) -> None:
        self._seed = seed
        self._length = num_images
        self._ends: np.ndarray | None = None
        if factors is not None:
            self._ends = scaled_ends(factors, num_images)
            self._length = int(self._ends[-1])

    def __len__(self) -> int:
        """Return L, the number of places of an epoch."""
        return self._length

    def image(self, position: int, offset: int = 0) -> int:
        """Return the index of the image at a position, or `offset` places after it in the same epoch."""
        epoch, place = divmod(position, self._length)
        place = int(epoch_order(self._seed, epoch, self._length)[(place + offset) % self._length])
        return place if self._ends is None else image_of_place(self._ends, place, epoch_phase(self._seed, epoch))

    def candidates(self, position: int, count: int) -> Iterator[int]:
        """Yield the image at a position and those after it in the epoch, each once, at most `count`."""
        seen: set[int] = set()
        for offset in range(self._length):
            index = self.image(position, offset)
            if index not in seen:
                seen.add(index)
                yield index
            if len(seen) == count:
                return


def scaled_ends(factors: np.ndarray, num_images: int) -> np.ndarray:
    """Return the running sum (num_images,) of the factors, scaled so that it ends at the whole number next to it.

    Raises:
        ValueError: the factors are not one positive number for each image.
    """
    factors = np.asarray(factors, np.float64)
    if factors.shape != (num_images,):
        raise ValueError(f"{num_images} images need a repeat factor each, got an array of shape {factors.shape}")
    wrong = np.flatnonzero(~(np.isfinite(factors) & (factors > 0)))
    if len(wrong):
        raise ValueError(f"repeat factors are positive numbers, but that of image {wrong[0]} is {factors[wrong[0]]}")
    ends = np.cumsum(factors)
    length = max(1, round(float(ends[-1])))
    ends = np.minimum(ends * (length / ends[-1]), length)
    ends[-1] = length
    return ends


def image_of_place(ends: np.ndarray, place: int, phase: float) -> int:
    """Return the image that a place of an epoch belongs to, before places are shuffled (see `EpochPlan`)."""
    return int(np.searchsorted(ends, place + 1 - phase))


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
        repeat: factors, how often each image comes in an epoch on average, (number of images,); None: once.

    Attributes:
        records: the dataset dicts, as data workers share them.

    Raises:
        ValueError: the data set is empty, the seed is negative, or an image has no positive factor.
    """

    def __init__(
        self,
        dataset: Sequence[dict[str, Any]],
        mapper: Callable[[dict], dict | None],
        seed: int,
        repeat: np.ndarray | None = None,
    ) -> None:
        if not len(dataset):
            raise ValueError("the training data set has no images")
        if seed < 0:
            raise ValueError(f"the data seed must be >= 0, got {seed}")
        self.name = getattr(dataset, "name", "")
        self.digests = known_digests(dataset)
        self.records = shared_records(dataset)
        self._mapper = mapper
        self._seed = seed
        self._plan = EpochPlan(len(dataset), seed, repeat)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def epoch_length(self) -> int:
        """Return the number of samples of an epoch: that of the images, and of their repeats."""
        return len(self._plan)

    def record(self, index: int) -> dict[str, Any]:
        """Return the dataset dict of an image, by its index in the data set."""
        return self.records[index]

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return the sample at a position, with an integer `seed` and, if it replaces unusable images, `REPLACED`.

        Raises:
            ValueError: the image and `MAX_REPLACEMENTS` replacements were all unusable.
        """
        tried: list[str] = []
        for index in self._plan.candidates(position, MAX_REPLACEMENTS + 1):
            record = self.records[index]
            with augmentation_rng(self._seed, position):
                sample = self._mapper(record)
            if sample is not None:
                sample["seed"] = model_seed(self._seed, position)
                if tried:
                    sample[REPLACED] = tried
                return sample
            tried.append(record["file_name"])
        raise ValueError(f"{len(tried)} images in a row could not be used, the data set is broken: {', '.join(tried)}")

    def file_name(self, position: int) -> str:
        """Return the file that is read at a position, for messages."""
        return str(self.records[self._plan.image(position)].get("file_name"))


def epoch_length(dataset: Any) -> int:
    """Return the number of samples of an epoch of a loader's data set; for one that does not say so, its length."""
    return int(getattr(dataset, "epoch_length", len(dataset)))


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
