"""Options that several commands share."""

import argparse
import re
import sys
from collections.abc import Sequence

_OVERRIDE = re.compile(r"[A-Za-z_+~][\w.]*=")


def command_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command without its options.

    Args:
        command: name behind ``querydet``, such as "visualize data".
        description: text of ``--help``, printed with its line breaks.
    """
    return argparse.ArgumentParser(
        prog=f"querydet {command}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def split_overrides(argv: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Split a command line into options and ``key=value`` overrides, wherever these stand.

    An option with several values would otherwise swallow overrides behind it. A file of such a name is given as
    ``./key=value``.

    Args:
        argv: arguments; None: those of this process.

    Returns:
        Arguments without the overrides, and the overrides.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    overrides = [item for item in given if _OVERRIDE.match(item)]
    return [item for item in given if not _OVERRIDE.match(item)], overrides


def positive(text: str) -> int:
    """Return an option's value as a whole number of at least 1.

    Raises:
        ArgumentTypeError: anything else.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, found '{text}'")
    return int(text)
