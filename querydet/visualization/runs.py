"""Training runs as their folders tell them, and which of them repeat each other."""

import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from querydet.config.safe_yaml import CONFIG_FILE, config_leaves, plain_config
from querydet.utils.provenance import RUN_FILE, read_parts

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"  # of Detectron2's JSONWriter
FOLDER = "train.output_dir"
OWN = ("train.seed", FOLDER)  # what differs between runs that repeat each other
_NUMBER = re.compile(r"[-_. ]*(?:seed|run)?[-_. ]*\d+$")  # the end of dino_seed0, dino-1, dino

Series = dict[int, float]


def read_metrics(run_dir: str) -> dict[str, Series]:
    """Reads every scalar of a run.

    Args:
        run_dir: folder with a ``metrics.json`` (one json object a line), or that file itself.

    Returns:
        Metric name -> {iteration: value}, iterations rising. A later line wins, as after a resume; a half-written last
        line, non-finite values and COCO's -1 ("no ground truth") are left out.

    Raises:
        FileNotFoundError: there is no ``metrics.json``.
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
            entry = json.loads(line)
            iteration = int(entry["iteration"])
        except (ValueError, KeyError, TypeError) as error:
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
    return not (name.startswith("bbox/") and value < 0)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run's folder holds."""

    folder: str
    label: str
    metrics: Mapping[str, Series]
    config: Mapping[str, str]  # by dotted key, interpolations as they are; empty where none is readable
    parts: Sequence[Mapping[str, Any]]  # of run.json


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that repeat each other, at least one."""

    label: str
    runs: tuple[Run, ...]

    def series(self, name: str) -> list[Series]:
        """A metric of the runs that have it."""
        return [run.metrics[name] for run in self.runs if run.metrics.get(name)]

    def names(self) -> list[str]:
        """All metrics, in the order of the runs."""
        return list(dict.fromkeys(name for run in self.runs for name in run.metrics))

    def title(self) -> str:
        """The label, with the number of runs where there are several."""
        return self.label if len(self.runs) == 1 else f"{self.label} ({len(self.runs)} runs)"


def read_run(folder: str, label: str) -> Run:
    """Reads a run.

    Args:
        folder: of the run, or its ``metrics.json``.
        label: what to call it.

    Raises:
        FileNotFoundError: there is no ``metrics.json``.
        ValueError: the metrics are damaged, or ``run.json`` is.
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
    except Exception as error:  # whatever a file of another version leads to; the metrics can be shown all the same
        logger.warning("%s cannot be read and is left out: %s", path, error)
        return {}


def read_groups(specs: Sequence[str], separate: bool = False) -> list[RunGroup]:
    """Reads runs and puts those together that repeat each other.

    Args:
        specs: folders, or ``NAME=FOLDER``. Runs of the same name are a group; of the others, those whose configs are
            equal but for the seed and the output folder.
        separate: every run is a group of its own.

    Raises:
        FileNotFoundError: a folder has no ``metrics.json``.
        ValueError: no run is given, or one is given twice.
    """
    pairs = [_split(spec) for spec in specs]
    if not pairs:
        raise ValueError("no runs are given: name the output folders of training runs")
    folders = [os.path.realpath(folder) for _, folder in pairs]
    twice = [pairs[place][1] for place, folder in enumerate(folders) if folder in folders[:place]]
    if twice:
        raise ValueError(f"{twice[0]} is given twice")
    groups: dict[Any, list[tuple[str, Run]]] = {}
    for place, (name, folder) in enumerate(pairs):
        run = read_run(folder, name if separate and name else _label(folder, [other for _, other in pairs]))
        settings = tuple(sorted(shared_settings(run.config).items()))
        alone = separate or not (name or settings)
        groups.setdefault(place if alone else name or settings, []).append((name, run))
    found = [RunGroup(_group_label(members), tuple(run for _, run in members)) for members in groups.values()]
    labels = [group.label for group in found]
    return [group if labels.count(group.label) == 1 else RunGroup(group.runs[0].folder, group.runs) for group in found]


def shared_settings(config: Mapping[str, str]) -> dict[str, str]:
    """A config, by dotted key, without what belongs to one run: its seed and its folder, wherever they stand."""
    folder = config.get(FOLDER, "").strip("'")
    kept = {key: value for key, value in config.items() if key not in OWN and not key.endswith("output_dir")}
    return {key: value.replace(folder, "RUN") for key, value in kept.items()} if folder else kept


def _split(spec: str) -> tuple[str, str]:
    name, sign, folder = spec.partition("=")
    return (name, folder) if sign and not os.path.exists(spec) else ("", spec)


def _label(folder: str, folders: Sequence[str]) -> str:
    """A run's last folder, or the whole path where that is not unique."""
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
    """The mean of several series, as far as all of them go."""

    iterations: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray  # the standard deviation (of a sample); 0 of a single series


def mean_and_spread(series: Sequence[Series]) -> Spread:
    """Averages series; values between the iterations of a series are interpolated.

    Args:
        series: at least one, none of them empty.

    Returns:
        At all iterations of any series that lie within every series; empty where there are none.
    """
    first, last = max(min(each) for each in series), min(max(each) for each in series)
    grid = np.array(sorted({step for each in series for step in each if first <= step <= last}), dtype=np.float64)
    values = np.array([np.interp(grid, list(each), list(each.values())) for each in series])
    deviation = values.std(axis=0, ddof=1) if len(series) > 1 else np.zeros(len(grid))
    return Spread(grid, values.mean(axis=0), deviation)
