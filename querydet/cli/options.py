"""What the command lines of several tools share."""

import argparse
import re
import sys
from collections.abc import Sequence

_OVERRIDE = re.compile(r"[A-Za-z_+~][\w.]*=")


def split_overrides(argv: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """A command line without its ``key=value``, and these, wherever they stand.

    They are taken out first because an option with several values would swallow them. A file of such a name is given as
    ``./key=value``.

    Args:
        argv: arguments; None: those of this program.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    overrides = [item for item in given if _OVERRIDE.match(item)]
    return [item for item in given if not _OVERRIDE.match(item)], overrides


def positive(text: str) -> int:
    """An option's whole number of at least 1.

    Raises:
        ArgumentTypeError: anything else.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, found '{text}'")
    return int(text)
