"""The tool that repeats dumped steps."""

import runpy
import sys

import pytest

from tests.engine.conftest import ROOT


def run_tool(monkeypatch, *arguments):
    """Run ``tools/replay_step.py`` in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["replay_step.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / "replay_step.py"), run_name="__main__")
    return end.value.code
