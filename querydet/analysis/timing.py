"""Time of each part of a detector, in inference and in training steps, on a CPU or a GPU.

The rows are those of DETA (arXiv 2212.06137), table 2, and the remaining parts, so that they add up to the total::

    timing = time_inference(model, inputs, repeats=20)
    timing.milliseconds  # {"preprocess": ..., "backbone": ..., "encoder": ..., ..., "total": ...}, medians

On a GPU, events are recorded in the stream between the parts, and the host waits for them after the last one: work that
overlaps is not serialised. The time of a part is from its begin to its end on the device, including the time that the
device waits for the host. On a CPU it is wall-clock time.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from querydet.analysis.activation_memory import peak_memory, reset_peak_memory
from querydet.analysis.part_hooks import watch_parts
from querydet.modeling.detector import QueryDetector
from querydet.utils.progress import ProgressBar

INFERENCE = ("preprocess", "backbone", "neck", "encoder", "masks", "selection", "decoder", "heads", "postprocess")
TRAINING = (*INFERENCE[:6], "denoising", "decoder", "heads", "assignment", "losses", "backward", "optimizer")
OTHER, TOTAL = "other", "total"

Inputs = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a detector by part, over several repeats."""

    samples: dict[str, list[float]]  # milliseconds of each repeat by part, then "other" and "total"
    peak_memory: int  # bytes: allocated on the GPU, or resident in the process

    @property
    def milliseconds(self) -> dict[str, float]:
        """Return the medians by part. The median of the total is not exactly the sum of the others."""
        return {part: statistics.median(values) for part, values in self.samples.items()}

    @property
    def repeats(self) -> int:
        """Return the number of repeats."""
        return len(self.samples[TOTAL])


class PartTimer:
    """Measures the time spent in named parts; a part inside of another one is not counted in the outer one.

    Args:
        device: the device that runs the parts.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._device = device
        self._open: list[str] = []
        self._marks: list[tuple[str, Any]] = []  # the part that runs from this mark on, "" for none

    def enter(self, part: str) -> None:
        """Begin a part."""
        self._open.append(part)
        self._mark(part)

    def leave(self, part: str) -> None:
        """End the part that was entered last."""
        ended = self._open.pop()
        assert ended == part
        self._mark(self._open[-1] if self._open else "")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block: `enter` at its begin, `leave` at its end."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave(name)

    def collect(self) -> dict[str, float]:
        """Wait for the device and return the milliseconds of each part since the last call; "": between parts."""
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        totals: dict[str, float] = {}
        for (part, start), (_, stop) in zip(self._marks, self._marks[1:], strict=False):
            elapsed = start.elapsed_time(stop) if self._on_gpu else 1000 * (stop - start)
            totals[part] = totals.get(part, 0.0) + elapsed
        self._open, self._marks = [], []
        return totals

    def _mark(self, part: str) -> None:
        if self._on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._marks.append((part, event))
        else:
            self._marks.append((part, time.perf_counter()))


def time_inference(
    model: QueryDetector, inputs: Inputs, *, repeats: int = 10, warmup: int = 2, progress: bool = False
) -> Timing:
    """Time detection on a batch, by part.

    Args:
        model: a detector, on any device; its mode is restored.
        inputs: batch to detect on.
        repeats: number of timed runs.
        warmup: number of runs before the timed ones.
        progress: show a bar with the time left.

    Raises:
        ValueError: less than one repeat, or negative warmup.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _measure(model, lambda _: model(inputs), INFERENCE, repeats, warmup, progress)
    finally:
        model.train(training)


def time_training(
    model: QueryDetector,
    inputs: Inputs,
    optimizer: torch.optim.Optimizer,
    *,
    repeats: int = 10,
    warmup: int = 2,
    progress: bool = False,
) -> Timing:
    """Time training steps on one batch, by part: forward, assignment, losses, backward, optimizer.

    The weights are updated.

    Args:
        model: a detector, on any device; its mode is restored.
        inputs: batch with objects.
        optimizer: of the model's parameters.
        repeats: number of timed steps.
        warmup: number of steps before the timed ones.
        progress: show a bar with the time left.

    Raises:
        ValueError: less than one repeat, or negative warmup.
    """

    def step(timer: PartTimer) -> None:
        losses = model(inputs)
        assert isinstance(losses, dict)
        with timer.part("backward"):
            torch.stack(list(losses.values())).sum().backward()
        with timer.part("optimizer"):
            optimizer.step()
            optimizer.zero_grad()

    training = model.training
    model.train()
    try:
        return _measure(model, step, TRAINING, repeats, warmup, progress)
    finally:
        optimizer.zero_grad()
        model.train(training)


def _measure(
    model: QueryDetector,
    run: Callable[[PartTimer], Any],
    parts: Sequence[str],
    repeats: int,
    warmup: int,
    progress: bool,
) -> Timing:
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be at least 1 and warmup at least 0; found {repeats} and {warmup}")
    timer = PartTimer(model.device)
    samples: dict[str, list[float]] = {part: [] for part in (*parts, OTHER, TOTAL)}
    reset_peak_memory(model.device)
    with watch_parts(model, timer.enter, timer.leave):
        for index in ProgressBar(range(warmup + repeats), desc="timing", disable=not progress, leave=False):
            with timer.part(OTHER):
                run(timer)
            times = timer.collect()
            if index >= warmup:
                for part in (*parts, OTHER):
                    samples[part].append(times.get(part, 0.0))
                samples[TOTAL].append(sum(times.values()))
    return Timing({part: values for part, values in samples.items() if any(values)}, peak_memory(model.device))
