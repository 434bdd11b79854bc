"""Shipped configs are executed once in a process of tests: later loads get copies of what they said.

A recipe executes about fifteen files, a small detector two or three: most of the time of many tests.
"""

import os
import pickle
from collections.abc import Callable
from typing import Any

from querydet.config import files
from querydet.utils.targets import found_targets, trust

FOLDERS = ("DETECTRON2_DATASETS", "QUERYDET_DATA")  # variables that shipped configs read


class KeptConfigs:
    """Does what `files.read_config` does; only what it finds below the shipped folders is kept."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self.execute = load
        self._folders = tuple(f"{files.config_root() / folder}/" for folder in ("configs", "projects"))
        self._kept: dict[tuple[str | None, ...], tuple[bytes, set[str]]] = {}

    def __call__(self, path: str) -> Any:
        """Load a config, or copy what it said when it was loaded first."""
        if not path.startswith(self._folders):
            return self.execute(path)
        key = (path, *map(os.getenv, FOLDERS))
        if key not in self._kept:
            cfg = self.execute(path)
            self._kept[key] = pickle.dumps(cfg), found_targets(cfg)
        content, targets = self._kept[key]
        trust(targets)
        return pickle.loads(content)
