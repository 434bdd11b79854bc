"""Where the shipped configs are; found without loading any."""

import importlib.resources
from pathlib import Path


def config_root() -> Path:
    """Return the folder that holds `configs/` and `projects/`: the source checkout, else the copies inside the package.

    The checkout comes first so that an edited config is never shadowed by the copy of an earlier build.

    Raises:
        FileNotFoundError: the package was installed without its configs.
    """
    package = Path(str(importlib.resources.files("querydet")))
    for root in (package.parent, package / "_configs"):
        if (root / "configs" / "common").is_dir():
            return root
    raise FileNotFoundError(f"no configs beside or inside {package}: reinstall querydet from a checkout or a wheel")


def shipped_configs() -> list[str]:
    """List the shipped config files, relative to `config_root`, such as `configs/common/train.py`."""
    root = config_root()
    files = [*root.glob("configs/**/*.py"), *root.glob("projects/*/configs/**/*.py")]
    return sorted(path.relative_to(root).as_posix() for path in files)
