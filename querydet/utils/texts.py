"""Texts in messages: those of files from others, and lists that may be long."""

import difflib
from collections.abc import Iterable

SHOWN = 100  # characters of a file's texts that messages repeat


def shown(text: str) -> str:
    """Return a text of a file as a message may repeat it: cut off, with escapes for what does not print."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")[1:-1]


def listed(names: Iterable[str], most: int, separator: str = ", ") -> str:
    """Join the first names, and say how many more there are."""
    names = list(names)
    return separator.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest(text: str, names: Iterable[str], most: int = 1) -> list[str]:
    """Return names that may be meant: those that begin with the text, then those that contain it, then similar ones.

    Args:
        text: what was given.
        names: what there is.
        most: number of names to return; fewer where there are fewer names.
    """
    names = sorted(set(names), key=lambda name: (len(name), name))
    begin = [name for name in names if name.startswith(text)]
    contain = [name for name in names if text in name]
    similar = difflib.get_close_matches(text, names, n=most, cutoff=0.0)
    return list(dict.fromkeys([*begin, *contain, *similar]))[:most]
