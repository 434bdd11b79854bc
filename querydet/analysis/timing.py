"""How long each part of a detector takes, in inference and in training steps, on a CPU or a GPU.

The rows are those of DETA (arXiv 2212.06137), table 2, and the rest, so that they add up to the whole::

    timing = time_inference(model, inputs, repeats=20)
    timing.milliseconds  # {"preprocess": ..., "backbone": ..., "encoder": ..., ..., "total": ...}, medians

On a GPU, events are recorded in the stream between the parts, and waited for after the last one: nothing that runs
overlapped otherwise is serialised, and a part's time is from its begin to its end on the device, waits for the host
included. On a CPU it is the clock.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from querydet.analysis.activation_memory import peak_memory, reset_peak_memory
from querydet.analysis.part_hooks import watch_parts
from querydet.modeling.detector import QueryDetector

INFERENCE = ("preprocess", "backbone", "neck", "encoder", "selection", "decoder", "heads", "postprocess")
TRAINING = (*INFERENCE[:5], "denoising", "decoder", "heads", "assignment", "losses", "backward", "optimizer")
OTHER, TOTAL = "other", "total"

Inputs = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a detector by part, over repeats."""

    samples: dict[str, list[float]]  # milliseconds of each repeat by part, then "other" and "total"
    peak_memory: int  # most bytes: allocated on the GPU, or resident memory of the process

    @property
    def milliseconds(self) -> dict[str, float]:
        """Medians. That of the total is not exactly the sum of the others."""
        return {part: statistics.median(values) for part, values in self.samples.items()}

    @property
    def repeats(self) -> int:
        """How many repeats."""
        return len(self.samples[TOTAL])


class PartTimer:
    """Adds up the time between begins and ends of named parts; a part inside of another one counts for itself alone.

    Args:
        device: whose time it is.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._device = device
        self._open: list[str] = []
        self._marks: list[tuple[str, Any]] = []  # which part runs from here on, "" for none

    def enter(self, part: str) -> None:
        """A part begins."""
        self._open.append(part)
        self._mark(part)

    def leave(self, part: str) -> None:
        """The part that began last ends."""
        ended = self._open.pop()
        assert ended == part
        self._mark(self._open[-1] if self._open else "")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Between `enter` and `leave`."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave(name)

    def collect(self) -> dict[str, float]:
        """Milliseconds of each part since the last time, waiting for the device; "" is what was between parts."""
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        found: dict[str, float] = {}
        for (part, start), (_, stop) in zip(self._marks, self._marks[1:], strict=False):
            passed = start.elapsed_time(stop) if self._on_gpu else 1000 * (stop - start)
            found[part] = found.get(part, 0.0) + passed
        self._open, self._marks = [], []
        return found

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
    """Times detection on a batch by part.

    Args:
        model: a detector, on any device; its mode is restored.
        inputs: of the model.
        repeats: how often; the results are medians.
        warmup: runs before, which do not count.
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
    """Times training steps on the same batch by part: forward, assignment, losses, backward, optimizer.

    The weights change.

    Args:
        model: a detector, on any device; its mode is restored.
        inputs: of the model, with objects.
        optimizer: of the model.
        repeats: how often; the results are medians.
        warmup: steps before, which do not count.
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
        for number in tqdm(range(warmup + repeats), desc="timing", disable=not progress, leave=False):
            with timer.part(OTHER):
                run(timer)
            found = timer.collect()
            if number >= warmup:
                for part in (*parts, OTHER):
                    samples[part].append(found.get(part, 0.0))
                samples[TOTAL].append(sum(found.values()))
    return Timing({part: values for part, values in samples.items() if any(values)}, peak_memory(model.device))
