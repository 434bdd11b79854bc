"""Building blocks of a section; `page.html` renders them."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from querydet.visualization.figures import png_of
from querydet.visualization.runs import Series

WIDTH = 1600  # pixels of a photograph in the report
QUALITY = 82  # JPEG quality of a photograph
MISSING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first column names the row."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that is embedded in the file."""

    source: str  # a data: URI
    title: str
    kind: str = "picture"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Code:
    """Preformatted text, folded under its title."""

    title: str
    text: str
    kind: str = "code"


Block = Table | Picture | Text | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report with a heading; left out if it has no blocks."""

    name: str  # anchor for links
    title: str
    blocks: list[Block] = field(default_factory=list)


def plot(figure: Figure, title: str) -> Picture:
    """Embed a figure as PNG."""
    return Picture(_uri("png", png_of(figure)), title)


def photograph(image: Image.Image | np.ndarray, title: str) -> Picture:
    """Embed an image as JPEG, at most `WIDTH` pixels wide.

    Args:
        image: of PIL, or (H, W, 3), RGB, uint8.
        title: caption.
    """
    shown = (Image.fromarray(image) if isinstance(image, np.ndarray) else image).convert("RGB")
    shown.thumbnail((WIDTH, 4 * WIDTH))
    buffer = io.BytesIO()
    shown.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
    return Picture(_uri("jpeg", buffer.getvalue()), title)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def last_values(series: Iterable[Series]) -> list[float]:
    """Return the last value of each series."""
    return [list(values.values())[-1] for values in series]


def mean_text(values: Sequence[float], digits: int = 1) -> str:
    """Format the mean, with the sample standard deviation if the values differ."""
    if not values:
        return MISSING
    text = f"{np.mean(values):.{digits}f}"
    return text if len(set(values)) == 1 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def text_of(value: Any) -> str:
    """Format a value of a json as the cell of a table."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {text_of(entry)}" for key, entry in value.items())
    return str(value)
