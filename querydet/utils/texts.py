"""Texts in messages: those of files from others, and lists that may be long."""

from collections.abc import Iterable

SHOWN = 100  # characters of a file's texts that messages repeat


def shown(text: str) -> str:
    """Return a text of a file as a message may repeat it: cut off, with escapes for what does not print."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")[1:-1]


def listed(names: Iterable[str], most: int, separator: str = ", ") -> str:
    """Join the first names, and say how many more there are."""
    names = list(names)
    return separator.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
