"""An estimate, before the first step, of the memory of dense attention for the largest images of a run."""

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm
from torch import nn

from querydet.analysis.attention_memory import attention_memory, describe_memory, is_dense
from querydet.data.augmentation import ResizeShortSide
from querydet.data.record_columns import chunks, column, records_of
from querydet.modeling.detector import QueryDetector

logger = logging.getLogger(__name__)

REMEDY = (
    "Lower max_side of dataloader.train.mapper.augmentations, the batch, or set "
    "train.activation_checkpointing, if the run ends out of memory"
)


def largest_batch(sizes: Iterable[tuple[int, int]], augmentations: Sequence[Any]) -> tuple[int, int]:
    """Compute the largest height and width that a padded batch can have.

    Args:
        sizes: (height, width) of the images of a data set.
        augmentations: augmentations of training; of those that resize to one of several short sides, the last one
            counts, with its largest. Others are assumed to enlarge nothing.
    """
    resizes = [each for each in augmentations if isinstance(each, ResizeShortSide)]
    height = width = 0
    for size in set(sizes):
        grown = resizes[-1].output_size(*size, max(resizes[-1].short_sides)) if resizes else size
        height, width = max(height, grown[0]), max(width, grown[1])
    return height, width


def report_attention_memory(model: nn.Module, dataset: Any, augmentations: Sequence[Any], batch_size: int) -> str:
    """Log the estimate for a training run; a warning where the maps alone exceed the memory of the device.

    Args:
        model: model of the run.
        dataset: training data; ``record(index)`` returns Detectron2's dicts with ``height`` and ``width``.
        augmentations: augmentations of training.
        batch_size: images of a micro-batch in one process.

    Returns:
        The message; "" for a model without dense attention, or images of unknown size.
    """
    if not is_dense(model) or not hasattr(dataset, "record"):
        return ""
    assert isinstance(model, QueryDetector)
    records = records_of(dataset)
    try:
        found_sizes = np.unique(np.concatenate([column(records, "size", *part) for part in chunks(records)]), axis=0)
    except KeyError:
        return ""
    sizes = {(int(height), int(width)) for height, width in found_sizes}
    if not sizes:
        return ""
    height, width = largest_batch(sizes, augmentations)
    found = attention_memory(model, height, width, batch_size)
    text = describe_memory(found, height, width, batch_size)
    available = device_memory(model.device)
    if available and found.total > available:
        text += f". That is more than the {available / 2**20:,.0f} MiB of {model.device}. {REMEDY}"
    if comm.is_main_process():
        logger.log(logging.WARNING if available and found.total > available else logging.INFO, text)
    return text


def device_memory(device: torch.device) -> int:
    """Return the whole memory of a device in bytes; 0 where it is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0
