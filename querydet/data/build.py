"""Data loaders for training and testing, compatible with Detectron2's engine and `inference_on_dataset`.

Both yield lists of dicts, and survive worker processes that die or hang (`data.workers`). Neither draws from the global
random generators of the process, which would make a resumed run differ from an uninterrupted one.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import BatchSampler, Dataset

from querydet.data.catalog import is_annotated, known_digests, shared_records
from querydet.data.stream import PositionSampler, PositionStream
from querydet.data.workers import WatchedLoader

logger = logging.getLogger(__name__)

WORKER_TIMEOUT = 300.0  # seconds; ours: storage that needs longer for a batch counts as broken
WORKER_RESTARTS = 3
Factors = Callable[[Any], np.ndarray]  # a data set of N images -> their repeat factors (N,)
Mapper = Callable[[dict[str, Any]], dict[str, Any] | None]


def build_train_loader(
    *,
    dataset: Sequence[dict[str, Any]],
    mapper: Mapper,
    total_batch_size: int,
    num_workers: int = 4,
    repeat: Factors | None = None,
    seed: int = 42,  # the official code's seed (DINO, main.py)
    start_iteration: int = 0,
    worker_timeout: float = WORKER_TIMEOUT,
    worker_restarts: int = WORKER_RESTARTS,
) -> WatchedLoader:
    """Build an infinite loader of this process's share of every batch, addressed by position (`data.stream`).

    Args:
        dataset: Detectron2 dataset dicts.
        mapper: maps a dataset dict to a sample dict, or to None for an image that has to be replaced.
        total_batch_size: images of one iteration over all processes.
        num_workers: worker processes of this process; 0 loads in the process itself, with the same result.
        repeat: computes how often each image comes in an epoch, such as `querydet.data.RepeatFactors`; None: once.
        seed: determines order, augmentation and the `seed` entry of every sample.
        start_iteration: first iteration, for resuming. Every `iter()` starts here.
        worker_timeout: seconds that a batch may take before the workers count as stuck.
        worker_restarts: how often dead or stuck workers are replaced during a run; 0 ends the run at the first failure.

    Returns:
        A loader of lists of dicts. `len(loader.dataset)` is the number of images, `loader.dataset.epoch_length` that of
        the samples of an epoch.

    Raises:
        ValueError: the data set is empty or has no annotations, the seed is negative, a batch has fewer images than
            there are processes, or `repeat` does not return a positive number for each image.
    """
    if not is_annotated(dataset):
        raise ValueError(
            "the training data set has images alone, without annotations: it can be evaluated, not trained on"
        )
    rank, world_size = comm.get_rank(), comm.get_world_size()
    PositionSampler(total_batch_size, rank, world_size, start_iteration)  # checks the numbers early
    return WatchedLoader(
        PositionStream(dataset, mapper, seed, None if repeat is None else repeat(dataset)),
        partial(_positions, total_batch_size, rank, world_size, start_iteration),
        num_workers=num_workers,
        timeout=worker_timeout,
        restarts=worker_restarts,
    )


def _positions(total_batch_size: int, rank: int, world_size: int, start: int, done: int) -> PositionSampler:
    return PositionSampler(total_batch_size, rank, world_size, start + done)


def build_test_loader(
    *,
    dataset: Sequence[dict[str, Any]],
    mapper: Mapper,
    batch_size: int = 1,
    num_workers: int = 4,
    worker_timeout: float = WORKER_TIMEOUT,
    worker_restarts: int = WORKER_RESTARTS,
) -> "TestLoader":
    """Build a loader that yields every image once, in order, divided among the processes.

    Args:
        dataset: Detectron2 dataset dicts.
        mapper: maps a dataset dict to an input dict, or to None to leave out an unreadable image (it then has no
            detections).
        batch_size: images of a forward pass in this process.
        num_workers: worker processes; 0 loads in the process itself.
        worker_timeout: see `build_train_loader`.
        worker_restarts: see `build_train_loader`.

    Raises:
        ValueError: the data set is empty.
    """
    if not len(dataset):
        raise ValueError("the test data set has no images")
    batches = list(BatchSampler(InferenceSampler(len(dataset)), batch_size, drop_last=False))
    loader = WatchedLoader(
        _MappedDicts(dataset, mapper),
        partial(_batches_after, batches),
        num_workers=num_workers,
        timeout=worker_timeout,
        restarts=worker_restarts,
    )
    return TestLoader(loader, len(batches))


def _batches_after(batches: list[list[int]], done: int) -> list[list[int]]:
    return list(islice(batches, done, None))


class TestLoader:
    """A finite loader whose batches leave out the images that the mapper could not use.

    Args:
        loader: yields lists of dicts and None.
        num_batches: number of batches.
    """

    __test__ = False  # keeps pytest from collecting it by its name

    def __init__(self, loader: WatchedLoader, num_batches: int) -> None:
        self._loader = loader
        self._num_batches = num_batches

    @property
    def dataset(self) -> Any:
        """Return the mapped data set of all processes."""
        return self._loader.dataset

    def __len__(self) -> int:
        """Return the number of batches of this process; batches without usable images are not yielded."""
        return self._num_batches

    def watch_stop(self, requested: Callable[[], Any]) -> None:
        """Ask a function whether the run is to stop (`WatchedLoader.watch_stop`)."""
        self._loader.watch_stop(requested)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        left_out = 0
        for batch in self._loader:
            usable = [sample for sample in batch if sample is not None]
            left_out += len(batch) - len(usable)
            if usable:
                yield usable
        if left_out:
            logger.warning("%d test images of this process could not be used and count as not detected", left_out)


class _MappedDicts(Dataset):
    """A data set of dataset dicts that are mapped on access."""

    def __init__(self, dataset: Sequence[dict[str, Any]], mapper: Mapper) -> None:
        self.name = getattr(dataset, "name", "")
        self.annotated = is_annotated(dataset)
        self.digests = known_digests(dataset)
        self.records = shared_records(dataset)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self.records)

    def record(self, index: int) -> dict[str, Any]:
        """Return the dataset dict of an image, not mapped."""
        return self.records[index]

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        return self._mapper(self.records[index])

    def file_name(self, index: int) -> str:
        """Return the file of an image, for messages."""
        return str(self.records[index].get("file_name"))
