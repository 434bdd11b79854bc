"""Data loaders for training and testing, as Detectron2's engine and ``inference_on_dataset`` want them.

Both give lists of dicts. Neither draws from the global random generators of the process: torch's loader takes its
workers' base seed from there by default, which would make a resumed run differ from an uninterrupted one.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from detectron2.data import DatasetFromList
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from querydet.data.stream import PositionSampler, PositionStream

Mapper = Callable[[dict[str, Any]], dict[str, Any] | None]


def build_train_loader(
    *,
    dataset: list[dict[str, Any]],
    mapper: Mapper,
    total_batch_size: int,
    num_workers: int = 4,
    seed: int = 42,  # the official code's seed (DINO, main.py)
    start_iteration: int = 0,
) -> DataLoader:
    """An infinite loader of this process' share of every batch, addressed by position (`querydet.data.stream`).

    Args:
        dataset: Detectron2 dataset dicts.
        mapper: dict -> sample dict, or None for an image to be replaced.
        total_batch_size: images of one iteration over all processes.
        num_workers: worker processes of this process; 0 loads in the process itself, with the same result.
        seed: decides order, augmentation and the ``seed`` entry of every sample.
        start_iteration: where to start, for resuming. Every ``iter()`` starts here.

    Returns:
        A loader of lists of dicts; ``len(loader.dataset)`` is the number of images.

    Raises:
        ValueError: an empty data set, a negative seed or a batch that the processes cannot share equally.
    """
    return DataLoader(
        PositionStream(dataset, mapper, seed),
        batch_sampler=PositionSampler(total_batch_size, comm.get_rank(), comm.get_world_size(), start_iteration),
        **_worker_options(num_workers),
    )


def build_test_loader(
    *, dataset: list[dict[str, Any]], mapper: Mapper, batch_size: int = 1, num_workers: int = 4
) -> "TestLoader":
    """A loader of every image once, in order, shared among the processes.

    Args:
        dataset: Detectron2 dataset dicts.
        mapper: dict -> input dict, or None to leave an unreadable image out (it then counts as not detected).
        batch_size: images of one call of the model in this process.
        num_workers: worker processes; 0 loads in the process itself.

    Raises:
        ValueError: the data set is empty.
    """
    if not len(dataset):
        raise ValueError("the test data set has no images")
    return TestLoader(
        DataLoader(
            _MappedDicts(dataset, mapper),
            sampler=InferenceSampler(len(dataset)),
            batch_size=batch_size,
            **_worker_options(num_workers, persistent=False),
        )
    )


class TestLoader:
    """A finite loader whose batches leave out the images that the mapper could not use.

    Args:
        loader: yields lists of dicts and None.
    """

    __test__ = False  # no test class, whatever its name says to pytest

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader

    @property
    def dataset(self) -> Dataset:
        """The mapped data set over all processes."""
        return self._loader.dataset

    def __len__(self) -> int:
        """Batches of this process, at most."""
        return len(self._loader)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for batch in self._loader:
            usable = [sample for sample in batch if sample is not None]
            if usable:
                yield usable


class _MappedDicts(Dataset):
    """Dataset dicts through a mapper."""

    def __init__(self, dataset: list[dict[str, Any]], mapper: Mapper) -> None:
        self.name = getattr(dataset, "name", "")
        self._dicts = DatasetFromList(dataset, copy=False, serialize=True)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._dicts)

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        return self._mapper(self._dicts[index])


def _worker_options(num_workers: int, persistent: bool = True) -> dict[str, Any]:
    return {
        "num_workers": num_workers,
        "collate_fn": _as_list,
        "persistent_workers": persistent and num_workers > 0,
        "generator": torch.Generator().manual_seed(0),  # own, so that the global one is left alone
    }


def _as_list(samples: list[Any]) -> list[Any]:
    return samples
