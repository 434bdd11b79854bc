"""LazyConfig files: finding the shipped ones, loading and saving them."""

import builtins
import difflib
import os
from pathlib import Path
from typing import Any

from detectron2.config import LazyConfig, lazy
from omegaconf import DictConfig

from querydet.config.locations import config_root, shipped_configs
from querydet.config.safe_yaml import load_yaml
from querydet.utils.targets import EVERYTHING, found_targets, trust
from querydet.utils.texts import nearest


def find_config(name: str) -> str:
    """Return the path of a config file.

    Args:
        name: a path, or the name of a shipped file: `projects/dino/configs/x.py`, `configs/quick/x.py`,
            or short `common/train.py` (in `configs/`) and `dino/configs/x.py` (in `projects/`).

    Raises:
        FileNotFoundError: there is no such file; the message names the nearest shipped one.
        ValueError: the name does not end in .py, .yaml or .yml; the message names the nearest shipped one too.
    """
    if os.path.splitext(name)[1] not in (".py", ".yaml", ".yml"):
        raise ValueError(f"config file '{name}' has to end in .py, .yaml or .yml{_nearest_shipped(name)}")
    if os.path.isfile(name):
        return name
    if not os.path.isabs(name):
        root = config_root()
        for candidate in (root / name, root / "configs" / name, root / "projects" / name):
            if candidate.is_file():
                return str(candidate)
    near = _nearest_shipped(name)
    raise FileNotFoundError(f"config file '{name}' is neither in {os.getcwd()} nor among the shipped ones{near}")


def _nearest_shipped(name: str) -> str:
    """Return a hint: the shipped config of the nearest file name, of several such files that of the nearest folder."""
    shipped = shipped_configs()
    stems = nearest(Path(name).stem, (Path(path).stem for path in shipped))
    same = [path for path in shipped if Path(path).stem in stems]
    near = difflib.get_close_matches(name, same, n=1, cutoff=0.0)
    return f"; the nearest shipped one is '{near[0]}'" if near else ""


def get_config(name: str) -> DictConfig:
    """Load a shipped config for use in another one: `get_config("common/train.py").train`.

    Every call reads the file again, so that the caller may change the result. A config in Python is executed; one in
    YAML can only name known parts, see `config.safe_yaml`.

    Args:
        name: a path or the name of a shipped file, see `find_config`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a YAML file names a target that is not allowed.
    """
    return read_config(find_config(name))


def save_config(cfg: DictConfig, path: str) -> None:
    """Write a config as YAML and check that it loads again.

    Args:
        cfg: a config with overrides applied.
        path: of the file to write.

    Raises:
        ValueError: the config holds something that YAML cannot represent, such as a lambda or a module object.
    """
    LazyConfig.save(cfg, path)
    try:
        restored = load_yaml(path, allow=[EVERYTHING])
    except Exception as error:
        raise ValueError(f"the config saved as {path} does not load again, use named functions: {error}") from error
    finally:
        # Detectron2 falls back to a pickle, which is unsafe to load.
        leftover = path + ".pkl"
        if os.path.exists(leftover):
            os.remove(leftover)
    if set(restored) != set(cfg):
        raise ValueError(f"the config saved as {path} lost {sorted(set(cfg) ^ set(restored))}")


def read_config(path: str) -> Any:
    """Read a config file; `get_config` finds it first.

    Args:
        path: of a file in Python, which is executed, or in YAML.

    Raises:
        ValueError: a YAML file names a target that is not allowed.
    """
    if not path.endswith(".py"):
        return load_yaml(path)
    importer, files = builtins.__import__, lazy.PathManager
    try:
        lazy.PathManager = _Utf8Files(files)
        cfg = LazyConfig.load(path)
    finally:
        # LazyConfig patches the import statement while it reads and does not restore it when the file fails.
        builtins.__import__, lazy.PathManager = importer, files
    trust(found_targets(cfg))
    return cfg


class _Utf8Files:
    """Opens configs as Python does: in UTF-8, whatever the locale is, with or without a byte order mark."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def open(self, path: str, mode: str = "r", encoding: str = "utf-8-sig") -> Any:
        """Open a file of text."""
        return self.manager.open(path, mode, encoding=encoding)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)
