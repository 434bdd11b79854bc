"""Training runs read from their folders, and groups of runs that repeat each other."""

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from querydet.config.safe_yaml import CONFIG_FILE, config_leaves, plain_config
from querydet.utils.plain_json import parse_json
from querydet.utils.provenance import RUN_FILE, read_parts

logger = logging.getLogger(__name__)

KINDS = {"bbox": "", "segm": "mask "}  # what stands before the names of measures, by the key of COCO's results
METRICS_FILE = "metrics.json"  # of Detectron2's JSONWriter
FOLDER = "train.output_dir"
OWN = ("train.seed", FOLDER)  # keys that may differ between repeated runs
_NUMBER = re.compile(r"[-_. ]*(?:seed|run)?[-_. ]*\d+$")  # the end of dino_seed0, dino-1, dino

Series = dict[int, float]


def read_metrics(run_dir: str) -> dict[str, Series]:
    """Read every scalar of a run.

    Args:
        run_dir: folder with a `metrics.json` (one json object per line), or that file itself.

    Returns:
        {iteration: value} by metric name, in ascending order. A later line replaces an earlier one of the same
        iteration, as after a resume; an incomplete last line, non-finite values and COCO's -1 ("no ground truth") are
        left out.

    Raises:
        FileNotFoundError: there is no `metrics.json`.
        ValueError: a line other than the last is no json object.
    """
    path = os.path.join(run_dir, METRICS_FILE) if os.path.isdir(run_dir) else run_dir
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no metrics at {path}: give the output folder of a training run")
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    metrics: dict[str, Series] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(line)
            iteration = int(entry["iteration"])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            if number == len(lines):
                continue
            raise ValueError(f"{path}, line {number}, is not a line of metrics: {line[:80]!r}") from error
        for name, value in entry.items():
            if _is_value(name, value):
                metrics.setdefault(name, {})[iteration] = float(value)
    return {name: dict(sorted(series.items())) for name, series in metrics.items()}


def _is_value(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return not (name.startswith(tuple(f"{kind}/" for kind in KINDS)) and value < 0)


@dataclass(frozen=True, slots=True)
class Run:
    """The content of a run's folder."""

    folder: str
    label: str
    metrics: Mapping[str, Series]
    config: Mapping[str, str]  # by dotted key, interpolations not resolved; empty if unreadable
    parts: Sequence[Mapping[str, Any]]  # of run.json


@dataclass(frozen=True, slots=True)
class RunGroup:
    """One or more runs that repeat each other."""

    label: str
    runs: tuple[Run, ...]

    def series(self, name: str) -> list[Series]:
        """Return a metric of the runs that have it."""
        return [run.metrics[name] for run in self.runs if run.metrics.get(name)]

    def names(self) -> list[str]:
        """Return all metrics, in the order of the runs."""
        return list(dict.fromkeys(name for run in self.runs for name in run.metrics))

    def title(self) -> str:
        """Return the label, with the number of runs if there are several."""
        return self.label if len(self.runs) == 1 else f"{self.label} ({len(self.runs)} runs)"


def read_run(folder: str, label: str) -> Run:
    """Read a run.

    Args:
        folder: folder of the run, or its `metrics.json`.
        label: name of the run in figures and tables.

    Raises:
        FileNotFoundError: there is no `metrics.json`.
        ValueError: `metrics.json` or `run.json` is damaged.
    """
    metrics = read_metrics(folder)
    folder = folder if os.path.isdir(folder) else os.path.dirname(os.path.abspath(folder))
    try:
        parts = read_parts(folder)
    except ValueError as error:
        raise ValueError(f"{os.path.join(folder, RUN_FILE)} is not json: {error}") from error
    return Run(folder, label, metrics, _config(folder), parts)


def _config(folder: str) -> dict[str, str]:
    path = os.path.join(folder, CONFIG_FILE)
    if not os.path.isfile(path):
        return {}
    try:
        return dict(config_leaves(plain_config(path, resolve=False)))
    except Exception as error:  # any error from a file of another version; the metrics can be shown without it
        logger.warning("%s cannot be read and is left out: %s", path, error)
        return {}


def read_groups(specs: Sequence[str], separate: bool = False) -> list[RunGroup]:
    """Read runs and group those that repeat each other.

    Args:
        specs: folders, or `NAME=FOLDER`. Runs of the same name form a group; of the others, those whose configs are
            equal except for the seed and the output folder.
        separate: make every run its own group.

    Raises:
        FileNotFoundError: a folder has no `metrics.json`.
        ValueError: no run is given, or one is given twice.
    """
    pairs = [_split(spec) for spec in specs]
    if not pairs:
        raise ValueError("no runs are given: name the output folders of training runs")
    folders = [os.path.realpath(folder) for _, folder in pairs]
    repeated = [pairs[index][1] for index, folder in enumerate(folders) if folder in folders[:index]]
    if repeated:
        raise ValueError(f"{repeated[0]} is given twice")
    groups: dict[Any, list[tuple[str, Run]]] = {}
    for index, (name, folder) in enumerate(pairs):
        run = read_run(folder, name if separate and name else _label(folder, [other for _, other in pairs]))
        settings = tuple(sorted(shared_settings(run.config).items()))
        single = separate or not (name or settings)
        groups.setdefault(index if single else name or settings, []).append((name, run))
    result = [RunGroup(_group_label(members), tuple(run for _, run in members)) for members in groups.values()]
    labels = [group.label for group in result]
    return [group if labels.count(group.label) == 1 else RunGroup(group.runs[0].folder, group.runs) for group in result]


def shared_settings(config: Mapping[str, str]) -> dict[str, str]:
    """Return a config, by dotted key, without the settings of a single run: its seed, and its folder in any value."""
    folder = config.get(FOLDER, "").strip("'")
    kept = {key: value for key, value in config.items() if key not in OWN and not key.endswith("output_dir")}
    return {key: value.replace(folder, "RUN") for key, value in kept.items()} if folder else kept


def _split(spec: str) -> tuple[str, str]:
    name, sign, folder = spec.partition("=")
    return (name, folder) if sign and not os.path.exists(spec) else ("", spec)


def _label(folder: str, folders: Sequence[str]) -> str:
    """Return the last folder of a run's path, or the whole path if that is not unique."""
    names = [os.path.basename(os.path.normpath(other)) for other in folders]
    name = os.path.basename(os.path.normpath(folder))
    return name if names.count(name) == 1 else folder


def _group_label(members: Sequence[tuple[str, Run]]) -> str:
    name, first = members[0]
    if name or len(members) == 1:
        return name or first.label
    labels = [os.path.basename(os.path.normpath(run.folder)) for _, run in members]
    stems = {_NUMBER.sub("", label) for label in labels}
    stem = stems.pop() if len(stems) == 1 else ""
    return stem or first.label


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean of several series over their common range."""

    iterations: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray  # sample standard deviation; 0 for a single series


def mean_and_spread(series: Sequence[Series]) -> Spread:
    """Average series; values between the iterations of a series are interpolated.

    Args:
        series: at least one, none of them empty.

    Returns:
        Mean and deviation at all iterations of any series within the common range; empty without a common range.
    """
    first, last = (
        max(min(values_of_run) for values_of_run in series),
        min(max(values_of_run) for values_of_run in series),
    )
    grid = np.array(
        sorted({step for values_of_run in series for step in values_of_run if first <= step <= last}), dtype=np.float64
    )
    values = np.array([np.interp(grid, list(values_of_run), list(values_of_run.values())) for values_of_run in series])
    deviation = values.std(axis=0, ddof=1) if len(series) > 1 else np.zeros(len(grid))
    return Spread(grid, values.mean(axis=0), deviation)
