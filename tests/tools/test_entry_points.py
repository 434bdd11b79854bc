"""Files of tools/ that start a command: the same function, arguments and help as ``querydet``."""

import runpy
import sys

import pytest

from querydet.cli import commands
from querydet.cli.commands import COMMANDS, main
from tests.tools.conftest import ROOT

# What only the repository needs is no command.
OWN = {"check_binary", "record_run", "update_readme"}
TOOLS = {path.stem for path in (ROOT / "tools").glob("*.py")}
ENTRIES = {command.module: name for name, command in COMMANDS.items() if command.module in TOOLS}


def test_every_other_tool_is_a_command():
    assert OWN | set(ENTRIES) == TOOLS
    assert len(ENTRIES) == 17


@pytest.mark.parametrize("name", ENTRIES)
def test_a_tool_is_its_command(name, monkeypatch):
    calls = []
    monkeypatch.setattr(commands, "main", lambda argv: calls.append(argv) or 5)
    assert run_script(name, "--option", "a.b=1") == 5
    assert calls == [[*ENTRIES[name].split(), "--option", "a.b=1"]]
    assert f"``querydet {ENTRIES[name]}``" in (ROOT / "tools" / f"{name}.py").read_text()


def run_script(name, *arguments):
    """Runs a file of tools/ as the program, in this process; returns its exit status."""
    path = ROOT / "tools" / f"{name}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(path), *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(path), run_name="__main__")
    return end.value.code


def test_run_as_a_script_it_has_the_arguments_help_and_exit_status_of_the_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["plot", "curves", "--help"])
    wanted = capsys.readouterr().out
    assert run_script("plot_curves", "--help") == 0
    assert capsys.readouterr().out == wanted
    assert run_script("plot_curves") == 2
    assert "RUN" in capsys.readouterr().err
