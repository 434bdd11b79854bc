"""Matplotlib figures as files or bytes, without a window and safe in any thread."""

import io
import os
from typing import Any, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 110


def new_figure(width: float, height: float, layout: Literal["tight", "constrained"] = "tight") -> Figure:
    """Make a figure of this size in inches; a constrained layout leaves room for a legend outside of the axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str) -> None:
    """Write a figure to a file; its folder is created if needed."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    figure.savefig(path)


def png_of(figure: Figure, **options: Any) -> bytes:
    """Encode a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    return buffer.getvalue()
