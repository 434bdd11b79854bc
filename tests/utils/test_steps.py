"""Steps say which of them runs."""

import logging
import sys
import time

import pytest

from querydet.utils import steps
from querydet.utils.steps import Steps

LOGGER = logging.getLogger("tests.steps")


def test_a_terminal_shows_one_line_that_counts_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(steps, "REFRESH", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Steps(2, LOGGER) as progress:
        progress.begin("trace")
        time.sleep(0.1)
        progress.begin("check")
    shown = capsys.readouterr().err
    assert shown.count("step 1 of 2: trace (00:00)") > 2
    assert "step 2 of 2: check (00:00)" in shown
    assert "\n" not in shown


def test_elsewhere_every_step_is_logged_once(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER.name), Steps(2, LOGGER) as progress:
        progress.begin("trace")
        progress.begin("check")
    assert [record.getMessage() for record in caplog.records] == ["step 1 of 2: trace", "step 2 of 2: check"]
    assert capsys.readouterr().err == ""
