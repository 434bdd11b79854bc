"""Recorded numbers of LVIS: evaluation of lvis-api, repeat factors of Detectron2, federated loss of H-Detic-LVIS."""

import functools
import json
from pathlib import Path
from typing import Any


@functools.cache
def lvis_vectors() -> dict[str, Any]:
    """Return the recorded input and results; its note says how they were made."""
    path = Path(__file__).parent / "fixtures" / "lvis_vectors.json"
    vectors: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return vectors


def write_lvis(folder: Path, content: dict[str, Any] | None = None) -> str:
    """Write a json, by default the recorded one; return its path."""
    path = folder / "lvis.json"
    path.write_text(json.dumps(lvis_vectors()["ground_truth"] if content is None else content), encoding="utf-8")
    return str(path)
