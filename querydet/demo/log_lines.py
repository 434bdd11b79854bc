"""Log lines that nobody outside can forge: what is not printable is written as an escape."""

import logging


def escape(text: str) -> str:
    """Return a text on one line: line breaks, control characters and terminal codes as Python writes them."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class EscapeFilter(logging.Filter):
    """Escapes the messages of a logger; lines of a traceback begin with a bar, which no message does."""

    _formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record; it is never left out."""
        record.msg, record.args = escape(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            lines = self._formatter.formatException(record.exc_info).splitlines()
            record.exc_text = "\n".join(f"| {escape(line)}" for line in lines)
        return True


def guard_loggers(*loggers: logging.Logger) -> None:
    """Escape what these loggers write, once each."""
    for logger in loggers:
        if not any(isinstance(each, EscapeFilter) for each in logger.filters):
            logger.addFilter(EscapeFilter())
