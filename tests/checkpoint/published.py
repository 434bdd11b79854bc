"""Published layouts for tests: names and shapes from files, values that tell every tensor from the others.

Other layouts of the same format are tested by pointing QUERYDET_LAYOUTS_DIR to their folder: ``keys`` (name to
``shape``), ``shared`` (lists of names that are one parameter) and ``config`` (the options of the model).
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.parity.fixture import Fixture

FOLDER = Path(os.environ.get("QUERYDET_LAYOUTS_DIR") or Path(__file__).parents[1] / "fixtures" / "layouts")


def load_layout(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def layouts() -> list[str]:
    """Names of the layouts in the folder."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if "keys" in json.loads(path.read_text()))


def make_state(layout: dict[str, Any]) -> dict[str, Tensor]:
    """A state dict of the shapes; each parameter is filled with a number of its own, and takes no memory."""
    first = {name: group[0] for group in layout["shared"] for name in group}
    numbers = {name: float(index + 1) for index, name in enumerate(layout["keys"])}
    return {
        name: torch.tensor(numbers[first.get(name, name)]).expand(entry["shape"])
        for name, entry in layout["keys"].items()
    }


def published(name: str, num_classes: int | None = None) -> tuple[dict[str, Tensor], argparse.Namespace]:
    """State dict and options of a parity fixture; with as many classes as wanted."""
    fixture = Fixture.load(name)
    state = fixture.group("state/")
    if num_classes is not None:
        heads: dict[int, Tensor] = {}
        for key, value in state.items():
            if "class_embed" in key or "label_enc" in key:
                rows = num_classes + ("label_enc" in key)
                # copies of one parameter stay copies
                number = hash(value.numpy().tobytes())
                generator = torch.Generator().manual_seed(abs(number) % 2**31)
                state[key] = heads.setdefault(number, torch.randn(rows, *value.shape[1:], generator=generator))
    return state, argparse.Namespace(**fixture.config)
