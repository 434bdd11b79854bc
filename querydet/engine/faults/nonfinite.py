"""NaN and infinity in a step: the report, the number of steps that may be left out, and the dump to repeat one."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig
from torch import nn

from querydet.engine.accumulation import count_objects
from querydet.engine.distributed.shared_tensors import collected, local
from querydet.utils.atomic import atomic_write
from querydet.utils.texts import listed

logger = logging.getLogger(__name__)

Batch = list[dict[str, Any]]
MAX_SHOWN = 10  # names of parameters in a report


class NonFiniteError(FloatingPointError):
    """A prediction, loss or gradient is NaN or infinite; the weights are those of the step before."""


class NonFiniteInStep(Exception):
    """A step must not be applied, and all processes know.

    Args:
        what: description of the problem; "" when it is in another process.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class FailedStep(Protocol):
    """What report and dump of a step take from its trainer."""

    iter: int
    storage: EventStorage
    model: nn.Module
    optimizer: torch.optim.Optimizer
    seed: int
    micro_batches: int
    amp_dtype: torch.dtype | None
    last_norm: float


class NonFiniteSteps:
    """Leaves steps out, or stops the run.

    Args:
        train: the ``train`` node of the config; read are ``max_nonfinite_steps, dump_nonfinite, output_dir``.
    """

    def __init__(self, train: DictConfig) -> None:
        self.allowed = int(train.max_nonfinite_steps)
        self.folder = str(train.output_dir) if train.dump_nonfinite else ""
        self.count = 0

    def handle(self, trainer: FailedStep, batch: Batch, what: str) -> None:
        """Count and report a failed step; all processes call this in the same one.

        Args:
            trainer: the trainer whose step failed.
            batch: images of this process.
            what: description of the problem; "" when it is in another process.

        Raises:
            NonFiniteError: there were too many.
        """
        report = self._report(trainer, batch, what)
        self.count += 1
        if self.count > self.allowed:
            dumped = self._dump(trainer, batch, what, report)
            raise NonFiniteError(
                f"{report}\n  train.max_nonfinite_steps={self.allowed} are allowed"
                + (f"; querydet replay repeats the step from {', '.join(dumped)}" if dumped else "")
            )
        logger.warning("Step left out, %d of at most %d: %s", self.count, self.allowed, report)
        trainer.storage.put_scalar("nonfinite_steps", self.count, smoothing_hint=False)

    @staticmethod
    def _report(trainer: FailedStep, batch: Batch, what: str) -> str:
        gathered = comm.all_gather((what, [str(item.get("file_name", "unknown")) for item in batch]))
        several = len(gathered) > 1
        reasons = "; ".join(
            reason + (f" (in process {rank})" if several else "") for rank, (reason, _) in enumerate(gathered) if reason
        )
        images = "; ".join(
            (f"process {rank}: " if several else "") + ", ".join(names) for rank, (_, names) in enumerate(gathered)
        )
        rates = {group.get("name", str(i)): group["lr"] for i, group in enumerate(trainer.optimizer.param_groups)}
        return (
            f"iteration {trainer.iter}: {reasons or 'NaN or infinite loss terms'}\n  images: {images}\n"
            f"  learning rates: {rates}; gradient norm of the last good step: {trainer.last_norm:.4g}; "
            "the weights are unchanged"
        )

    def _dump(self, trainer: FailedStep, batch: Batch, what: str, report: str) -> list[str]:
        """Write the step of every process that has a problem; return the files of all processes."""
        count = count_objects(batch, trainer.micro_batches)
        path = os.path.join(self.folder, f"nonfinite_{trainer.iter:07d}_rank{comm.get_rank()}.pt")
        written = ""
        weights = collected(_unwrapped(trainer.model).state_dict(), keep=bool(what))
        if self.folder and what:
            content = {
                "report": report,
                "iteration": trainer.iter,
                "rank": comm.get_rank(),
                "seed": trainer.seed,
                "micro_batches": trainer.micro_batches,
                "amp": str(trainer.amp_dtype).removeprefix("torch.") if trainer.amp_dtype else "",
                "object_count": {"per_image": count.per_image, "num_micro_batches": count.num_micro_batches},
                "batch": [_plain(item) for item in batch],
                "model": weights,
            }
            try:
                with atomic_write(path) as file:
                    torch.save(content, file)
                written = path
            except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
                logger.error("The step cannot be dumped to %s: %s", path, error)
        return [each for each in comm.all_gather(written) if each]


def bad_terms(losses: Mapping[str, torch.Tensor]) -> str:
    """Describe the loss terms of this process that are NaN or infinite; "" when there are none."""
    bad = [f"{name}={value.item()}" for name, value in losses.items() if not torch.isfinite(value).all()]
    return f"NaN or infinite loss terms {', '.join(bad)}" if bad else ""


def bad_gradients(parameters: Sequence[tuple[str, nn.Parameter]]) -> str:
    """Describe the parameters whose gradients are NaN or infinite."""
    names = [name for name, p in parameters if p.grad is not None and not torch.isfinite(local(p.grad)).all()]
    if not names:
        return "NaN or infinite gradients of no single parameter, only their total norm overflows"
    return f"NaN or infinite gradients of {listed(names, MAX_SHOWN)}"


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """Reduce an input to tensors, numbers and strings, which `querydet.engine.faults.replay` loads without pickles."""
    kept: dict[str, Any] = {
        key: value for key, value in item.items() if isinstance(value, torch.Tensor | int | float | str)
    }
    instances = item.get("instances")
    if instances is not None:
        kept["instances"] = {
            "image_size": list(instances.image_size),
            "gt_boxes": instances.gt_boxes.tensor.cpu(),
            "gt_classes": instances.gt_classes.cpu(),
        }
    return kept
