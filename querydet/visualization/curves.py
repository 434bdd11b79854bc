"""Loss and AP curves from the ``metrics.json`` that Detectron2's ``JSONWriter`` leaves in a run's folder."""

import json
import math
import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LOSS = "total_loss"
AP_METRICS = ("bbox/AP50", "bbox/AP", "bbox/AP75")
_STYLES = {"bbox/AP50": "-", "bbox/AP": "--", "bbox/AP75": ":"}
SMOOTHING_WINDOW = 0.05  # of the curve's length; the unsmoothed loss stays visible behind

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
    path = os.path.join(run_dir, "metrics.json") if os.path.isdir(run_dir) else run_dir
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


def plot_curves(run_dirs: Sequence[str], path: str) -> None:
    """Writes one PNG: the training loss on the left, AP, AP50 and AP75 on the right, one colour a run.

    Args:
        run_dirs: output folders of runs (see `read_metrics`).
        path: the PNG file; its folder is made if needed.

    Raises:
        FileNotFoundError: a run has no ``metrics.json``.
        ValueError: no run is given, or none of them has a loss or an AP.
    """
    runs = {_label(run_dir, run_dirs): read_metrics(run_dir) for run_dir in run_dirs}
    if not any(name in metrics for metrics in runs.values() for name in (LOSS, *AP_METRICS)):
        raise ValueError(f"nothing to plot: no {LOSS} and no bbox/AP in {', '.join(run_dirs) or 'no runs'}")
    figure = Figure(figsize=(11, 4), dpi=110, layout="tight")
    FigureCanvasAgg(figure)
    loss_axes, ap_axes = figure.subplots(1, 2)
    for index, (label, metrics) in enumerate(runs.items()):
        _plot_loss(loss_axes, metrics.get(LOSS, {}), label, f"C{index}")
        for name in AP_METRICS:
            series = metrics.get(name, {})
            color = f"C{index}" if len(runs) > 1 else f"C{AP_METRICS.index(name)}"
            prefix = f"{label}: " if len(runs) > 1 else ""
            if series:
                ap_axes.plot(
                    list(series),
                    list(series.values()),
                    _STYLES[name],
                    color=color,
                    marker="." if len(series) < 30 else None,
                    label=f"{prefix}{name.removeprefix('bbox/')} (last {list(series.values())[-1]:.1f})",
                )
    _finish(loss_axes, "training loss", "weighted sum of all losses")
    _finish(ap_axes, "validation", "AP in %")
    ap_axes.set_ylim(0, 100)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    figure.savefig(path)


def _plot_loss(axes: Axes, series: Series, label: str, color: str) -> None:
    if not series:
        return
    iterations, values = np.array(list(series)), np.array(list(series.values()))
    window = max(1, int(len(values) * SMOOTHING_WINDOW))
    axes.plot(iterations, values, color=color, alpha=0.3 if window > 1 else 1.0, linewidth=1)
    padded = np.pad(values, (window // 2, window - 1 - window // 2), mode="edge")
    axes.plot(iterations, np.convolve(padded, np.ones(window) / window, mode="valid"), color=color, label=label)
    if len(values) > 1 and values.min() > 0:
        axes.set_yscale("log")
        for axis_ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis_ticks("{x:g}")


def _finish(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("iteration")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _is_value(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return not (name.startswith("bbox/") and value < 0)


def _label(run_dir: str, run_dirs: Sequence[str]) -> str:
    """A run's last folder, or the whole path where that is not unique."""
    names = [os.path.basename(os.path.normpath(other)) for other in run_dirs]
    name = os.path.basename(os.path.normpath(run_dir))
    return name if names.count(name) == 1 else run_dir
