"""Paths that are no plain files: opening a pipe waits for ever, and some devices never end."""

import os
import stat

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def not_a_file(path: str) -> str | None:
    """Say why a path cannot be read as a file: "does not exist", "is a directory" ...; None: it can be."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "does not exist"
    return None if stat.S_ISREG(mode) else f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, and no file"


def check_exists(path: str) -> None:
    """Refuse a local checkpoint that does not exist; "" and addresses pass.

    Raises:
        FileNotFoundError: no such file.
    """
    problem = not_a_file(path.partition("?")[0]) if path and "://" not in path else None
    if problem is not None:
        raise FileNotFoundError(f"checkpoint {os.path.abspath(path)} {problem} (train.init_checkpoint, or --weights)")
