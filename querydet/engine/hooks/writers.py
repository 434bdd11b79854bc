"""Writers whose files continue without gaps or repeated lines after a restart."""

import json
import os

from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from omegaconf import DictConfig, OmegaConf

from querydet.engine.hooks.wandb_writer import WandbWriter
from querydet.utils.atomic import atomic_write


class ResumableJSONWriter(JSONWriter):
    """``metrics.json``: what a killed run wrote after its last checkpoint is removed first.

    Args:
        path: the file, one json object a line.
        start_iter: first iteration that is going to be run.
    """

    def __init__(self, path: str, start_iter: int) -> None:
        kept = _lines_before(path, start_iter - 1)
        if os.path.exists(path):
            with atomic_write(path) as file:
                file.write("".join(line for line, _ in kept).encode())
        super().__init__(path)
        self._last_write = max((iteration for _, iteration in kept), default=-1)


def _lines_before(path: str, iteration: int) -> list[tuple[str, int]]:
    """Complete lines of earlier iterations; the line of ``iteration`` itself is going to be written again."""
    kept = []
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    number = json.loads(line)["iteration"]
                except (ValueError, KeyError, TypeError):  # half a line, from a crash
                    continue
                if number < iteration:
                    kept.append((line, number))
    return kept


def build_writers(cfg: DictConfig, max_iter: int, start_iter: int) -> list[EventWriter]:
    """Console, ``metrics.json`` and TensorBoard; Weights & Biases when ``train.wandb.enabled``.

    Args:
        cfg: the complete config; the folder of the run is ``train.output_dir``.
        max_iter: for the remaining time on the console.
        start_iter: first iteration that is going to be run.
    """
    output_dir = cfg.train.output_dir
    board = TensorboardXWriter(output_dir, purge_step=start_iter or None)
    board._last_write = start_iter - 1
    writers = [
        CommonMetricPrinter(max_iter),
        ResumableJSONWriter(os.path.join(output_dir, "metrics.json"), start_iter),
        board,
    ]
    options = cfg.train.wandb
    if options.enabled:
        shown = {"config": OmegaConf.to_yaml(cfg)}
        writers.append(WandbWriter(output_dir, shown, options.project, options.name, options.mode, start_iter))
    return writers
