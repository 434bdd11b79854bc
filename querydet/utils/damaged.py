"""Files of a run that cannot be read any more are kept under another name, and are no reason to stop."""

import itertools
import logging
import os

logger = logging.getLogger(__name__)

SUFFIX = ".damaged"


def put_aside(path: str, problem: object) -> None:
    """Rename whatever has a path, so that the path is free, and say so; nothing is removed.

    Args:
        path: of a file, a folder, a link or anything else.
        problem: what is wrong with it.
    """
    names = (f"{path}{SUFFIX}{number or ''}" for number in itertools.count())
    target = next(name for name in names if not os.path.lexists(name))
    try:
        os.rename(path, target)
    except OSError as error:
        logger.error("%s cannot be used (%s), nor renamed: %s", path, problem, error)
        return
    logger.warning("%s cannot be used (%s): it is kept as %s, and a new one begins", path, problem, target)


def put_aside_unless_file(path: str) -> None:
    """Rename what has a path and is no file: a folder, a pipe or a broken link."""
    if os.path.lexists(path) and not os.path.isfile(path):
        put_aside(path, "it is no file")
