"""Logs before the folder of a run may be written."""

import io
import logging

from querydet.engine.run.early_logs import EarlyLogs


def test_records_are_shown_at_once_and_reach_the_file_once(capsys):
    logger = logging.getLogger("querydet.some")
    with EarlyLogs() as early:
        logger.info("early")
        assert "early" in capsys.readouterr().out
    file = io.StringIO()
    logging.getLogger("querydet").addHandler(logging.StreamHandler(file))
    logger.info("late")
    early.write()
    early.write()
    assert file.getvalue() == "late\nearly\n"
    assert capsys.readouterr().out == ""


def test_logs_of_a_program_that_calls_this_one_are_left_as_they_are():
    file = io.StringIO()
    own = logging.StreamHandler(file)
    logger = logging.getLogger("querydet")
    logger.addHandler(own)
    with EarlyLogs() as early:
        logger.info("once")
    early.write()
    assert file.getvalue() == "once\n"
    assert logger.handlers == [own]
