"""Lines of the log that nobody outside can forge."""

import logging

from querydet.demo.log_lines import escape, guard_loggers


def test_everything_that_does_not_print_is_escaped():
    for code in (*range(32), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, 0x202E, 0xFEFF, 0xD800):
        assert escape(f"a{chr(code)}b").isprintable()
    assert escape("a\nb\x1b[2J") == "a\\nb\\x1b[2J"
    assert escape("größe 3 x 4") == "größe 3 x 4"


def test_tracebacks_are_told_from_messages(caplog):
    logger = logging.getLogger("querydet.test_log_lines")
    guard_loggers(logger)
    guard_loggers(logger)
    assert len(logger.filters) == 1
    try:
        raise ValueError("first\nERROR forged")
    except ValueError:
        logger.warning("%s failed", "a\nb", exc_info=True)
    assert caplog.records[0].getMessage() == "a\\nb failed"
    assert "\n| ERROR forged" in caplog.text
