"""A progress line for a few long steps of unequal length: which one runs, of how many, and for how long."""

import logging
import sys
import threading
from types import TracebackType

from querydet.utils.progress import ProgressBar

REFRESH = 1.0  # seconds between two drawings of the line


class Steps:
    """Shows the running step; a context. On a terminal as one line that is redrawn, elsewhere as log lines.

    Args:
        total: number of steps.
        logger: gets a line for each step where standard error is no terminal.
    """

    def __init__(self, total: int, logger: logging.Logger) -> None:
        self.total, self.number = total, 0
        self._logger = logger
        self._bar: ProgressBar | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)

    def __enter__(self) -> "Steps":
        """Begin to count the seconds."""
        if sys.stderr.isatty():
            self._bar = ProgressBar(total=self.total, bar_format="{desc} ({elapsed})", leave=False)
            self._thread.start()
        return self

    def begin(self, name: str) -> None:
        """Say that the next step runs."""
        self.number += 1
        text = f"step {self.number} of {self.total}: {name}"
        if self._bar is None:
            self._logger.info("%s", text)
        else:
            self._bar.set_description_str(text)

    def _refresh(self) -> None:
        while not self._ended.wait(REFRESH):
            if self._bar is not None:
                self._bar.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._ended.set()
            self._thread.join(2 * REFRESH)
            self._bar.close()
