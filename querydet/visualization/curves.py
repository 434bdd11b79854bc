"""Curves of training runs: losses, AP or any other metric; for repeated runs, their mean and spread."""

import fnmatch
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from querydet.visualization.figures import new_figure, save_figure
from querydet.visualization.runs import KINDS, RunGroup, Series, Spread, mean_and_spread, read_groups

LOSS = "total_loss"
_STYLES = {"AP50": "-", "AP": "--", "AP75": ":"}
AP_METRICS = tuple(f"{kind}/{name}" for kind in KINDS for name in _STYLES)
SMOOTHING_WINDOW = 0.05  # fraction of the curve's length; the unsmoothed loss is drawn behind
MOST_STYLED = 3  # maximum number of groups for which AP50 and AP75 are drawn besides AP
MOST_LABELLED = 6  # maximum number of groups with a legend inside of the axes; more share one below
COLUMNS = 3
_PALETTE = 10  # number of colours before the line style changes
_LINES = ("-", "--", ":", "-.")


def plot_curves(
    run_dirs: Sequence[str], path: str, metrics: Sequence[str] | None = None, separate: bool = False
) -> None:
    """Write one PNG: the training loss and AP, or a panel for each of the given metrics.

    Args:
        run_dirs: output folders of runs, or `NAME=FOLDER`; see `runs.read_groups`.
        path: the PNG file; its folder is created if needed.
        metrics: names or patterns such as `loss_*`.
        separate: draw a curve for every run instead of means.

    Raises:
        FileNotFoundError: a run has no `metrics.json`.
        ValueError: no run is given, or none of them has such a metric.
    """
    groups = read_groups(run_dirs, separate)
    save_figure(draw_metrics(groups, metrics) if metrics else draw_loss_and_ap(groups), path)


def draw_loss_and_ap(groups: Sequence[RunGroup]) -> Figure:
    """Draw the training loss (left) and AP, AP50 and AP75 (right; only AP with many groups), one colour per group.

    Where there are results of masks, these have a third panel.

    Raises:
        ValueError: no run has any of these.
    """
    if not any(group.series(name) for group in groups for name in (LOSS, *AP_METRICS)):
        folders = ", ".join(run.folder for group in groups for run in group.runs)
        raise ValueError(f"nothing to plot: no {LOSS} and no bbox/AP in {folders}")
    has_masks = any(group.series(f"segm/{name}") for group in groups for name in _STYLES)
    kinds = tuple(KINDS) if has_masks else ("bbox",)
    figure = new_figure(5.5 * (1 + len(kinds)), 4 + _legend_height(groups), "constrained")
    loss_axes, *ap_axes = figure.subplots(1, 1 + len(kinds))
    for index, group in enumerate(groups):
        _draw(loss_axes, group.series(LOSS), group.title(), f"C{index % _PALETTE}", _style(index), smooth=True)
    _finish(loss_axes, "training loss", "weighted sum of all losses", groups)
    _to_log(loss_axes)
    for kind, axes in zip(kinds, ap_axes, strict=True):
        _draw_precision(axes, kind, groups)
    named = [axes for kind, axes in zip(kinds, ap_axes, strict=True) if all(g.series(f"{kind}/AP") for g in groups)]
    _name_below(figure, (named or [loss_axes])[0], groups)
    return figure


def _draw_precision(axes: Axes, kind: str, groups: Sequence[RunGroup]) -> None:
    """Draw AP, AP50 and AP75 of boxes or masks."""
    names = tuple(_STYLES) if len(groups) <= MOST_STYLED else ("AP",)
    for index, group in enumerate(groups):
        prefix = f"{group.title()}: " if len(groups) > 1 or len(group.runs) > 1 else ""
        for name in names:
            style = _STYLES[name] if len(names) > 1 else _style(index)
            color = f"C{index % _PALETTE if len(groups) > 1 else list(_STYLES).index(name)}"
            _draw(axes, group.series(f"{kind}/{name}"), prefix + KINDS[kind] + name, color, style, last=True)
    _finish(axes, "validation" + (", masks" if kind == "segm" else ""), f"{KINDS[kind]}AP in %", groups)
    axes.set_ylim(0, 100 if len(groups) <= MOST_STYLED else None)


def draw_metrics(groups: Sequence[RunGroup], metrics: Sequence[str]) -> Figure:
    """Draw one panel for each metric.

    Args:
        groups: groups of runs.
        metrics: names or patterns such as `loss_*`.

    Raises:
        ValueError: a pattern matches no metric of any run.
    """
    names = select_metrics(groups, metrics)
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(5.2 * columns, 3.4 * rows + _legend_height(groups), "constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        smooth = "loss" in name
        for index, group in enumerate(groups):
            _draw(axes, group.series(name), group.title(), f"C{index % _PALETTE}", _style(index), smooth=smooth)
        _finish(axes, name, "", groups)
        if smooth:
            _to_log(axes)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    _name_below(figure, max(panels, key=_curves_of), groups)
    return figure


def select_metrics(groups: Sequence[RunGroup], patterns: Sequence[str]) -> list[str]:
    """Return the metrics that match the patterns, in the order of the patterns.

    Raises:
        ValueError: a pattern matches no metric.
    """
    known = list(dict.fromkeys(name for group in groups for name in group.names() if name != "iteration"))
    selected: dict[str, None] = {}
    for pattern in patterns:
        matching = fnmatch.filter(known, pattern)
        if not matching:
            shown = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
            raise ValueError(f"no run has a metric '{pattern}': they have {shown or 'none'}")
        selected.update(dict.fromkeys(matching))
    return list(selected)


def _draw(
    axes: Axes, series: list[Series], label: str, color: str, style: str, smooth: bool = False, last: bool = False
) -> None:
    """Draw the mean with a band of one standard deviation; a single smoothed loss over the unsmoothed one."""
    if not series:
        return
    smoothed = [_smoothed(values) for values in series] if smooth else series
    spread = mean_and_spread(smoothed)
    if not len(spread.iterations):  # the runs have no iteration in common
        for values in smoothed:
            axes.plot(list(values), list(values.values()), style, color=color, label=label)
            label = "_nolegend_"
        return
    if smooth and len(series) == 1 and smoothed[0] != series[0]:
        axes.plot(list(series[0]), list(series[0].values()), color=color, alpha=0.3, linewidth=1)
    if last:
        label += f" (last {_number(spread)})"
    marker = "." if len(spread.iterations) < 30 and not smooth else None
    axes.plot(spread.iterations, spread.mean, style, color=color, marker=marker, label=label)
    if len(series) > 1:
        lower, upper = spread.mean - spread.deviation, spread.mean + spread.deviation
        lower = np.maximum(lower, spread.mean / 2) if smooth else lower  # the axis may be logarithmic
        axes.fill_between(spread.iterations, lower, upper, color=color, alpha=0.2, linewidth=0)


def _number(spread: Spread) -> str:
    deviation = float(spread.deviation[-1])
    return f"{spread.mean[-1]:.1f}" + (f" ± {deviation:.1f}" if deviation else "")


def _smoothed(series: Series) -> Series:
    values = np.array(list(series.values()))
    window = max(1, int(len(values) * SMOOTHING_WINDOW))
    if window == 1:
        return series
    padded = np.pad(values, (window // 2, window - 1 - window // 2), mode="edge")
    return dict(zip(series, np.convolve(padded, np.ones(window) / window, mode="valid").tolist(), strict=True))


def _style(index: int) -> str:
    return _LINES[index // _PALETTE % len(_LINES)]


def _to_log(axes: Axes) -> None:
    """Make the axis logarithmic if there are several values and all are positive."""
    values = np.concatenate([np.zeros(0), *(np.asarray(line.get_ydata(), dtype=float) for line in axes.lines)])
    if len(values) > 1 and values.min() > 0:
        axes.set_yscale("log")
        for axis_ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis_ticks("{x:g}")


def _finish(axes: Axes, title: str, unit: str, groups: Sequence[RunGroup]) -> None:
    axes.set_title(title + (", mean ± deviation" if any(len(group.runs) > 1 for group in groups) else ""), fontsize=10)
    axes.set_xlabel("iteration")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0] and len(groups) <= MOST_LABELLED:
        axes.legend(fontsize=8)


def _legend_height(groups: Sequence[RunGroup]) -> float:
    return 0.3 + 0.2 * math.ceil(len(groups) / COLUMNS) if len(groups) > MOST_LABELLED else 0.0


def _curves_of(axes: Axes) -> int:
    return len(axes.get_legend_handles_labels()[0])


def _name_below(figure: Figure, axes: Axes, groups: Sequence[RunGroup]) -> None:
    if len(groups) > MOST_LABELLED:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=COLUMNS, fontsize=8)
