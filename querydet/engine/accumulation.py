"""Gradient accumulation: a process computes its share of a step in several micro-batches, one after the other.

The total batch stays what ``dataloader.train.total_batch_size`` says; only memory changes. What a loss is divided by is
counted over all micro-batches of all processes before the first of them (`querydet.structures.ObjectCount`): the sum of
the gradients is that of the whole batch.
"""

import contextlib
import itertools
from typing import Any

from detectron2.utils import comm
from torch import nn

from querydet.structures import ObjectCount

Batch = list[dict[str, Any]]


def check_micro_batches(micro_batches: object, total_batch_size: int, processes: int) -> int:
    """Return the number of micro-batches, for each of which every process has at least one image.

    Args:
        micro_batches: ``train.micro_batches``.
        total_batch_size: images of a step over all processes.
        processes: number of processes.

    Raises:
        ValueError: not a number of at least 1, or too few images.
    """
    if not isinstance(micro_batches, int) or isinstance(micro_batches, bool) or micro_batches < 1:
        raise ValueError(f"train.micro_batches has to be an integer of at least 1, got {micro_batches!r}")
    if total_batch_size // processes < micro_batches:
        raise ValueError(
            f"train.micro_batches={micro_batches} is more than the {total_batch_size // processes} images that each of "
            f"{processes} processes has of dataloader.train.total_batch_size={total_batch_size}: lower it"
        )
    return micro_batches


def split_batch(batch: Batch, micro_batches: int) -> list[Batch]:
    """Split a process's share of a step into parts of equal length, or one image more.

    Args:
        batch: Detectron2's dicts.
        micro_batches: number of parts; 1 gives back the batch as it is.

    Returns:
        The parts.

    Raises:
        ValueError: fewer images than parts.
    """
    if micro_batches == 1:
        return [batch]
    if len(batch) < micro_batches:
        raise ValueError(f"{len(batch)} images cannot be split into train.micro_batches={micro_batches}")
    bounds = [len(batch) * number // micro_batches for number in range(micro_batches + 1)]
    return [batch[start:stop] for start, stop in itertools.pairwise(bounds)]


def count_objects(batch: Batch, micro_batches: int = 1) -> ObjectCount:
    """Count the objects of a step over all processes, which have to call this together.

    The counts are host integers, and so is the exchange: no device is waited for.

    Args:
        batch: this process's share of the step, Detectron2's dicts.
        micro_batches: number of parts that every process computes its share in.
    """
    counts = [len(item.get("instances", ())) for item in batch]
    gathered = comm.all_gather(counts)
    return ObjectCount(tuple(itertools.chain(*gathered)), len(gathered) * micro_batches)


def exchanging(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[object]:
    """Let processes exchange gradients for the last micro-batch only; around its forward and backward pass.

    Only ``DistributedDataParallel`` can wait: sharded models keep less memory when they exchange every time.
    """
    if last or not isinstance(model, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    return model.no_sync()
