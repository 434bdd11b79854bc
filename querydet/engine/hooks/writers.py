"""Writers whose files continue without gaps or repeated lines after a restart, and the hook that calls them."""

import json
import logging
import os
from collections.abc import Callable, Sequence

from detectron2.engine import HookBase
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from omegaconf import DictConfig, OmegaConf

from querydet.engine.hooks.catch_up import after_iteration
from querydet.engine.hooks.wandb_writer import WandbWriter
from querydet.utils.atomic import atomic_write
from querydet.utils.damaged import put_aside, put_aside_unless_file

logger = logging.getLogger(__name__)


class ResumableJSONWriter(JSONWriter):
    """Writes ``metrics.json``; lines that a killed run wrote after its last checkpoint are removed first.

    Args:
        path: the file, one JSON object a line.
        start_iter: first iteration to run.
    """

    def __init__(self, path: str, start_iter: int) -> None:
        put_aside_unless_file(path)
        kept = _lines_before(path, start_iter - 1) if os.path.exists(path) else []
        if kept or os.path.exists(path):
            with atomic_write(path) as file:
                file.write(b"".join(line for line, _ in kept))
        super().__init__(path)
        self._last_write = max((iteration for _, iteration in kept), default=-1)


def _lines_before(path: str, iteration: int) -> list[tuple[bytes, int]]:
    """Return the complete lines of earlier iterations; that of ``iteration`` itself will be written again.

    The last line may be half, from a crash. A file with other lines that cannot be read is put aside.
    """
    try:
        with open(path, "rb") as file:
            lines = file.readlines()
    except OSError as error:
        put_aside(path, error)
        return []
    numbers = [_iteration(line) for line in lines]
    if None in numbers[:-1]:
        put_aside(path, f"line {numbers.index(None) + 1} is no line of metrics")
    kept = ((line.rstrip() + b"\n", number) for line, number in zip(lines, numbers, strict=True))
    return [(line, number) for line, number in kept if number is not None and number < iteration]


def _iteration(line: bytes) -> int | None:
    """Return the iteration of a line of metrics, None for anything else."""
    try:
        number = json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return number if type(number) is int else None


def build_writers(cfg: DictConfig, max_iter: int, start_iter: int) -> list[EventWriter]:
    """Build the writers for console, ``metrics.json`` and TensorBoard, with ``train.wandb.enabled`` also for wandb.

    Args:
        cfg: the complete config; the folder of the run is ``train.output_dir``.
        max_iter: iterations of the whole run, from which the console's remaining time is computed.
        start_iter: first iteration to run.
    """
    output_dir = cfg.train.output_dir
    board = TensorboardXWriter(output_dir, purge_step=start_iter or None)
    board._last_write = start_iter - 1
    writers: list[EventWriter] = [CommonMetricPrinter(max_iter), board]
    try:
        writers.insert(1, ResumableJSONWriter(os.path.join(output_dir, "metrics.json"), start_iter))
    except OSError as error:  # a full disk: no reason not to train
        logger.error("metrics.json cannot be written, training goes on without it: %s", error)
    options = cfg.train.wandb
    if options.enabled:
        shown = {"config": OmegaConf.to_yaml(cfg)}
        writers.append(WandbWriter(output_dir, shown, options.project, options.name, options.mode, start_iter))
    return writers


class WriterHook(HookBase):
    """Calls writers periodically and after the last iteration.

    Args:
        writers: first iteration to run -> writers; called when training starts, because they open files.
        period: in iterations.

    Raises:
        ValueError: a period below 1.
    """

    def __init__(self, writers: Callable[[int], Sequence[EventWriter]], period: int) -> None:
        if not isinstance(period, int) or period < 1:
            raise ValueError(f"train.log_period has to be an integer of at least 1, got {period!r}")
        self._build = writers
        self._period = period
        self._writers: Sequence[EventWriter] = ()
        self._failed: set[type] = set()

    def before_train(self) -> None:
        """Open the files and write the results of an evaluation that ran before the first step."""
        start = self.trainer.start_iter
        self._writers = self._build(start)
        if start and (start % self._period == 0 or start >= self.trainer.max_iter):
            with after_iteration(self.trainer, start - 1):
                self._write(printing=False)

    def after_step(self) -> None:
        """Write when it is time."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            self._write(printing=True)

    def after_train(self) -> None:
        """Write what is left and close the files, also after a failure."""
        self._write(printing=False)
        for writer in self._writers:
            try:
                writer.close()
            except OSError as error:
                self._report(writer, error)

    def _write(self, printing: bool) -> None:
        """Call the writers; a full disk costs lines of the curves, not the run.

        Args:
            printing: call the console's writer too.
        """
        for writer in self._writers:
            if printing or not isinstance(writer, CommonMetricPrinter):
                try:
                    writer.write()
                except OSError as error:
                    self._report(writer, error)

    def _report(self, writer: EventWriter, error: OSError) -> None:
        if type(writer) not in self._failed:
            self._failed.add(type(writer))
            logger.error("%s cannot write, training goes on: %s", type(writer).__name__, error)
