"""Whether data that do not exist may be generated, for all that runs inside a context."""

import contextlib
import contextvars
from collections.abc import Iterator

_generates = contextvars.ContextVar("generates", default=True)


@contextlib.contextmanager
def existing_data_only() -> Iterator[None]:
    """Let nothing be generated: a split that does not exist raises `FileNotFoundError`.

    For whoever reads the data of a config that may come from others, and was not asked to write any.
    """
    token = _generates.set(False)
    try:
        yield
    finally:
        _generates.reset(token)


def may_generate() -> bool:
    """Return whether a data set that does not exist may be written."""
    return _generates.get()
