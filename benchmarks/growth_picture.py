"""The picture of `benchmarks.growth`: small panels, both axes logarithmic, with the exponents."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = 3
COLOURS = {"detection": "#1f77b4", "training step": "#d95f02"}


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Draw the curves of all axes.

    Args:
        record: what `benchmarks.growth` writes.
        path: of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = list(record["axes"].values())
    rows = math.ceil(len(axes) / COLUMNS)
    figure, panels = pyplot.subplots(rows, COLUMNS, figsize=(3.4 * COLUMNS, 2.7 * rows), squeeze=False, sharey=True)
    for panel, axis in zip(panels.flat, axes, strict=False):
        draw_axis(panel, axis)
    for panel in panels.flat[len(axes) :]:
        panel.set_visible(False)
    for row in panels:
        row[0].set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_axis(panel: Any, axis: Mapping[str, Any]) -> None:
    """Draw the curves of one axis."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    for kind, curve in axis["curves"].items():
        label = f"{kind}: exponent {curve['exponent']:.2f}"
        panel.plot(axis["values"], curve["seconds"], "o-", color=COLOURS[kind], label=label, markersize=4)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel(axis["name"])
    panel.set_xticks(axis["values"])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, loc="best")
