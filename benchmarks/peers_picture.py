"""The picture of the part `peers` of `benchmarks.inference`: seconds of an image, one bar for each contestant."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.inference_peers import DINO, OTHER, PLAIN

OURS, PEER, OTHERS = "#1f77b4", "#b0b0b0", "#dcdcdc"
HEADINGS = {DINO: "DINO R50, same weights", OTHER: "RF-DETR, another model"}


def draw(rows: Sequence[Mapping[str, Any]], path: Path, machine: str) -> None:
    """Draw the contestants of one case that ran, fastest first within each model.

    Args:
        rows: of `benchmarks.turns.compete`, of one case.
        path: of the picture.
        machine: that they ran on.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = arrange(rows)
    figure, panel = pyplot.subplots(figsize=(8, 0.32 * len(bars) + 1.1))
    for place, (label, seconds, colour) in enumerate(bars):
        if seconds is None:
            panel.text(0, place, label, weight="bold", va="center", fontsize=9)
            continue
        panel.barh(place, seconds, color=colour, height=0.75)
        panel.text(seconds, place, f" {seconds:.2f}", va="center", fontsize=9)
    named = [(place, label) for place, (label, seconds, _) in enumerate(bars) if seconds is not None]
    panel.set_yticks([place for place, _ in named], [label for _, label in named], fontsize=9)
    panel.invert_yaxis()
    panel.margins(x=0.1)
    case = f"{rows[0]['size']}, batch {rows[0]['batch']}, {rows[0]['threads']} threads"
    panel.set_xlabel(f"seconds per image, less is better\n({case}; {machine})", fontsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def arrange(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float | None, str]]:
    """Return label, seconds and colour of each bar, with a heading (no seconds) before each model."""
    shown = [row for row in rows if "milliseconds" in row and row["name"] != PLAIN]
    bars: list[tuple[str, float | None, str]] = []
    for model in dict.fromkeys(row["model"] for row in shown):
        bars.append((HEADINGS.get(model, model), None, ""))
        for row in sorted((row for row in shown if row["model"] == model), key=lambda row: row["milliseconds"]):
            colour = OURS if row["name"].startswith("querydet") else OTHERS if model == OTHER else PEER
            bars.append((row["name"].partition(",")[0], row["milliseconds"] / row["batch"] / 1e3, colour))
    return bars
