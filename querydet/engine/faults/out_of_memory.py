"""Steps that do not fit into memory: the run stops, skips the step, or computes it again with less memory.

All processes do the same in the same step. For that, gradients are exchanged after the backward pass of all of them and
not during it, as ``DistributedDataParallel`` would: a process that is out of memory would let the others wait for ever.
So with several processes every action but "stop" costs the overlap of computing and exchanging.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from querydet.engine.faults.recomputation import recomputing

logger = logging.getLogger(__name__)

ACTIONS = ("stop", "skip", "split", "recompute")
BUCKET = 25 * 2**20  # bytes that are exchanged at once, as DDP's default
Result = TypeVar("Result")


class OutOfMemoryInStep(Exception):
    """A process has run out of memory, and all processes know.

    Args:
        what: torch's message; "" when it was another process.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class OutOfMemorySteps:
    """Repeats a step in smaller parts, or leaves it out.

    Args:
        options: ``action``: "stop"; "skip"; "split": compute the step again, one image at a time; "recompute": compute
            it again with activation checkpointing. A step that does not fit then either is skipped. ``max_skipped``:
            number of steps that may be skipped; one more stops the run.

    Raises:
        ValueError: an unknown action.
    """

    def __init__(self, options: DictConfig) -> None:
        if options.action not in ACTIONS:
            raise ValueError(
                f"train.out_of_memory.action has to be one of {', '.join(ACTIONS)}, got {options.action!r}"
            )
        self.action = str(options.action)
        self.max_skipped = int(options.max_skipped)
        self.repeated = self.skipped = 0

    @property
    def survives(self) -> bool:
        """Whether the run goes on after a step that did not fit."""
        return self.action != "stop"

    def run(
        self,
        compute: Callable[[int], Result],
        model: nn.Module,
        micro_batches: int,
        images: Sequence[str],
        where: str,
    ) -> Result | None:
        """Compute a step, if necessary again with less memory.

        Args:
            compute: number of micro-batches -> result; raises `OutOfMemoryInStep` in all processes together.
            model: the model, without a wrapper.
            micro_batches: number to try first.
            images: names of this process's images.
            where: the iteration, for messages.

        Returns:
            The result; None for a step to leave out.

        Raises:
            torch.OutOfMemoryError: more steps had to be skipped than may be.
        """
        try:
            return compute(micro_batches)
        except OutOfMemoryInStep as error:
            what = error.what
        report, images_each = self._report(what, images, where)
        parts = max(images_each, micro_batches) if self.action == "split" else micro_batches
        if self.action == "recompute" or parts > micro_batches:
            how = f"in {parts} parts" if self.action == "split" else "with activation checkpointing"
            try:
                with recomputing(model) if self.action == "recompute" else contextlib.nullcontext():
                    result = compute(parts)
            except OutOfMemoryInStep as error:
                report, _ = self._report(error.what, images, f"{where}, {how}")
            else:
                self.repeated += 1
                logger.warning("Step repeated %s, for the %d. time: %s", how, self.repeated, report)
                return result
        self.skipped += 1
        if self.skipped > self.max_skipped:
            raise torch.OutOfMemoryError(f"{report}. train.out_of_memory.max_skipped={self.max_skipped} are allowed")
        logger.warning("Step left out, %d of at most %d: %s", self.skipped, self.max_skipped, report)
        return None

    @staticmethod
    def _report(what: str, images: Sequence[str], where: str) -> tuple[str, int]:
        """Return a report, and the largest number of parts that every process can split its images into."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        gathered = comm.all_gather((what, list(images)))
        found = [
            f"process {rank}, images {', '.join(names)}: {text.splitlines()[0]}"
            for rank, (text, names) in enumerate(gathered)
            if text
        ]
        return f"{where}: out of memory in {'; '.join(found)}", min(len(names) for _, names in gathered)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over all processes, in place; a gradient that a process does not have counts as zero."""
    world_size = comm.get_world_size()
    if world_size == 1:
        return
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    while gradients:
        bucket = [gradients.pop()]
        while (
            gradients and gradients[-1].dtype == bucket[0].dtype and _bytes(bucket) + _bytes(gradients[-1:]) <= BUCKET
        ):
            bucket.append(gradients.pop())
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        flat /= world_size
        for gradient, part in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
