"""``--dry-run``: everything is built and tried once, and the run's time and memory are estimated; nothing is kept.

A few batches of the run are trained, a checkpoint is written, and one batch is evaluated, by the code of a real run, in
a temporary folder.
"""

import argparse
import contextlib
import copy
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from detectron2.utils import comm
from omegaconf import DictConfig, ListConfig, OmegaConf
from tabulate import tabulate

from querydet.engine.faults.stopping import stop_requests
from querydet.engine.run.run_length import RunLength
from querydet.engine.run.setup import setup_run
from querydet.engine.training import load_start, prepare_run, run_training

STEPS = 4  # the first is not counted: it allocates memory and starts data workers
TEST_BATCHES = 1


class FirstBatches:
    """Yields the first batches of a test loader, and measures the time that is spent on them.

    Args:
        loader: of the test data.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.batches = 0
        self.seconds = 0.0

    @property
    def dataset(self) -> Any:
        """The whole test data."""
        return self._loader.dataset

    @property
    def whole_length(self) -> int:
        """Number of batches of this process in a real evaluation."""
        return len(self._loader)

    def __len__(self) -> int:
        return min(TEST_BATCHES, len(self._loader))

    def __iter__(self) -> Iterator[Any]:
        start = time.perf_counter()
        for batch in itertools.islice(self._loader, TEST_BATCHES):
            yield batch
            self.batches += 1
        self.seconds += time.perf_counter() - start


def dry_run(cfg: DictConfig, args: argparse.Namespace) -> dict[str, float]:
    """Try a run, and print the time and memory that it would take.

    Args:
        cfg: the complete config.
        args: from `querydet.engine.distributed.arguments.argument_parser`.

    Returns:
        ``step_seconds, data_seconds, epoch_hours, evaluation_hours, run_hours, memory_mb`` and ``checkpoint_mb``; empty
        on other than the main process.

    Raises:
        ValueError: whatever the real run would raise for this config, and so for other errors.
    """
    with _temporary_folder() as folder:
        trial = copy.deepcopy(cfg)
        trial.train.output_dir = folder
        trial.train.max_iter = STEPS
        trial.train.log_period = 1
        trial.train.eval_period = 0
        trial.train.checkpointer.period = 0
        trial.train.wandb.enabled = False
        _keep_results_in(folder, trial)
        setup_run(trial, args)
        with stop_requests() as request:
            parts = prepare_run(trial, resume=False, request=request)
            tested = None if parts.test is None else FirstBatches(parts.test.loader)
            if parts.test is not None:
                parts = replace(parts, test=replace(parts.test, loader=tested))
            run_training(parts, load_start(parts))
        if not comm.is_main_process():
            return {}
        estimates = _estimate(cfg, folder, tested, parts.length)
    print(_table(estimates))
    return estimates


def _keep_results_in(folder: str, trial: DictConfig) -> None:
    """Let every evaluator that writes files write them below the folder of the dry run."""
    evaluator = OmegaConf.select(trial, "dataloader.evaluator")
    nodes = [evaluator, *evaluator] if isinstance(evaluator, ListConfig) else [evaluator]
    for index, node in enumerate(nodes):
        if isinstance(node, DictConfig) and node.get("output_dir"):
            node.output_dir = os.path.join(folder, f"results_{index}")


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """Make one folder for all processes, and remove it when they are done."""
    main = comm.is_main_process()
    with tempfile.TemporaryDirectory(prefix="querydet_dry_run_") if main else contextlib.nullcontext("") as own:
        yield comm.all_gather(own)[0]
        comm.synchronize()


def _estimate(cfg: DictConfig, folder: str, tested: FirstBatches | None, trial: RunLength) -> dict[str, float]:
    with open(os.path.join(folder, "metrics.json"), encoding="utf-8") as file:
        steps = [json.loads(line) for line in file][1:]
    compute = sum(step["compute_time"] for step in steps) / len(steps)
    data = sum(step["data_time"] for step in steps) / len(steps)
    evaluation = 0.0
    if tested is not None and tested.batches:
        evaluation = tested.seconds / tested.batches * tested.whole_length
    whole = RunLength.from_config(cfg.train, trial.iterations_per_epoch, 1)
    period = whole.period(cfg.train.eval_period, "train.eval_period")
    evaluations = -(-whole.max_iter // period) if period else 1
    seconds = whole.max_iter * (compute + data) + evaluations * evaluation
    return {
        "step_seconds": compute,
        "data_seconds": data,
        "epoch_hours": trial.iterations_per_epoch * (compute + data) / 3600,
        "evaluation_hours": evaluation / 3600,
        "run_hours": seconds / 3600,
        "memory_mb": max(step["memory_mb"] for step in steps),
        "checkpoint_mb": os.path.getsize(os.path.join(folder, "model_final.pth")) / 2**20,
    }


def _table(found: dict[str, float]) -> str:
    memory = f"{found['memory_mb']:.0f} MiB on the CPU, data workers not counted"
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**20
        memory = f"{found['memory_mb']:.0f} of {total:.0f} MiB on the GPU"
    rows = [
        ("computing a step", f"{found['step_seconds']:.3f} s"),
        ("waiting for its data", f"{found['data_seconds']:.3f} s"),
        ("an epoch", _duration(found["epoch_hours"])),
        ("an evaluation, without its summary", _duration(found["evaluation_hours"])),
        ("the run", _duration(found["run_hours"])),
        ("memory so far", memory + "; larger images and more objects need more"),
        ("a checkpoint", f"{found['checkpoint_mb']:.0f} MiB"),
    ]
    return "Dry run: everything works, nothing was kept\n" + tabulate(rows)


def _duration(hours: float) -> str:
    seconds = round(hours * 3600)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} (h:mm:ss)"
