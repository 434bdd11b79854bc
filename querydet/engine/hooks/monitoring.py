"""Measurements of a run besides its losses: gradients and learning rates by part, memory and time.

They go into Detectron2's storage, and from there to console, ``metrics.json``, TensorBoard and Weights & Biases:

=====================  ==================================================================================
``grad_norm/<part>``   L2 norm of the gradients of a part of the model, before clipping
``lr/<group>``         learning rate of a group of the optimizer; ``lr`` is that of the largest one
``compute_time``       seconds of a step without waiting for data, which is ``data_time``
``matching_time``      seconds of a step in the assigners; on a GPU with the wait for their input
``images_per_second``  over all processes
``memory_mb``          most memory that this process has had allocated on its GPU; on the CPU, has had resident
``skipped_steps``      left out so far: something was not finite, overflowed, or did not fit into memory
``skipped_images``     so far, because they could not be read; another image took the place of each
=====================  ==================================================================================
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import nn

from querydet.engine.distributed.shared_tensors import whole

# Belong to the machine, not to the run: two equal runs differ in them.
MEASURED = ("compute_time", "matching_time", "images_per_second", "memory_mb")


class MonitorHook(HookBase):
    """Measures what the table above lists.

    Args:
        model: the model, without a wrapper.
        images: number of images of a step, over all processes.
        period: iterations between measurements of gradients, which wait for the device.
    """

    def __init__(self, model: nn.Module, images: int, period: int) -> None:
        self._model = model
        self._images = images
        self._period = max(1, period)
        self._start = 0.0
        self._matching = time_assigners(model)

    def before_step(self) -> None:
        """Start the clocks."""
        self._matching.seconds = 0.0
        self._start = time.perf_counter()

    def after_backward(self) -> None:
        """Measure gradients by part in all processes, in iterations whose metrics are written."""
        if (self.trainer.iter + 1) % self._period and self.trainer.iter + 1 < self.trainer.max_iter:
            return
        scaler = getattr(self.trainer, "scaler", None)
        scale = scaler.get_scale() if scaler is not None else 1.0
        norms = part_norms(self._model)
        if norms:
            values = (torch.stack(list(norms.values())) / scale).tolist()
            self.trainer.storage.put_scalars(**{f"grad_norm/{k}": v for k, v in zip(norms, values, strict=True)})

    def after_step(self) -> None:
        """Put everything else into the storage."""
        seconds = time.perf_counter() - self._start
        storage = self.trainer.storage
        latest = storage.latest()
        data_time = latest["data_time"][0] if "data_time" in latest else 0.0
        storage.put_scalar("compute_time", max(0.0, seconds - data_time))
        storage.put_scalar("matching_time", self._matching.seconds)
        storage.put_scalar("images_per_second", self._images / seconds)
        storage.put_scalar("memory_mb", peak_memory_mb(), smoothing_hint=False)
        trainer = self.trainer
        skipped = trainer.nonfinite.count + trainer.memory.skipped + trainer.overflow_steps
        storage.put_scalar("skipped_steps", skipped, smoothing_hint=False)
        storage.put_scalar("skipped_images", trainer.bad_images.total, smoothing_hint=False)
        for number, group in enumerate(self.trainer.optimizer.param_groups):
            storage.put_scalar(f"lr/{group.get('name', number)}", group["lr"], smoothing_hint=False)


class Stopwatch:
    """Adds up the seconds that are spent in some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self, function: Callable[..., Any]) -> "Timed":
        """Wrap a function so that its calls are measured."""
        return Timed(function, self)


class Timed:
    """A function whose calls a stopwatch measures; its attributes are the function's."""

    def __init__(self, function: Callable[..., Any], watch: Stopwatch) -> None:
        self._function, self._watch = function, watch

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Call the function, and measure the time."""
        start = time.perf_counter()
        try:
            return self._function(*inputs, **options)
        finally:
            self._watch.seconds += time.perf_counter() - start

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask before there are any attributes
            raise AttributeError(name)
        return getattr(self._function, name)


def time_assigners(model: nn.Module) -> Stopwatch:
    """Measure the assignment of a detector's criterion; the result stays at 0 for a model without one."""
    watch = Stopwatch()
    criterion: Any = getattr(model, "criterion", None)
    if hasattr(criterion, "assign"):
        criterion.assign = watch.time(criterion.assign)
    return watch


def part_norms(model: nn.Module) -> dict[str, torch.Tensor]:
    """Compute the L2 norm of the gradients of each part of a model that has any, by name."""
    norms = {}
    for name, part in model.named_children():
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        if gradients:
            norms[name] = whole(nn.utils.get_total_norm(gradients)).float()
    return norms


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MiB: allocated on its GPU, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux: KiB
