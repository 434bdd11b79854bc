"""What a run logs before its folder may be written: on the console at once, and in the log file later."""

import logging
import sys
from types import TracebackType

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

LOGGERS = ("fvcore", "detectron2", "querydet")


class EarlyLogs(logging.Handler):
    """Shows records on the main process's console while the block runs, and keeps them.

    A run that is refused has then written nothing to its folder.
    """

    def __init__(self) -> None:
        super().__init__()
        self._records: list[tuple[str, logging.LogRecord]] = []  # with their loggers: consoles abbreviate names
        self._consoles: list[tuple[logging.Logger, logging.Handler]] = []
        self._others: list[logging.Handler] = []  # have seen the records already

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._records.append((record.name.partition(".")[0], record))

    def __enter__(self) -> "EarlyLogs":
        setup = getattr(setup_logger, "__wrapped__", setup_logger)  # which remembers what has been set up before
        for name in LOGGERS:
            logger = logging.getLogger(name)
            before = list(logger.handlers)
            logger.addHandler(self)
            setup(None, distributed_rank=comm.get_rank(), name=name)
            added = [handler for handler in logger.handlers if handler not in (*before, self)]
            if before:  # set up by the program that calls this one
                for handler in added:
                    logger.removeHandler(handler)
                added = []
            self._others += before
            self._consoles += [(logger, handler) for handler in [*added, self]]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for logger, handler in self._consoles:
            logger.removeHandler(handler)

    def write(self) -> None:
        """Pass the records on to the files that the loggers write by now."""
        for name, record in self._records:
            for handler in logging.getLogger(name).handlers:
                console = getattr(handler, "stream", sys.stdout) in (sys.stdout, sys.stderr)
                if not console and handler not in self._others:
                    handler.handle(record)
        self._records = []
