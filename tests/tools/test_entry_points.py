"""Files of tools/ that start a command: the same function, arguments and help as ``querydet``."""

import importlib
import subprocess
import sys

import pytest

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
def test_a_tool_is_its_command(tool, name):
    assert tool(name).main is importlib.import_module(f"querydet.cli.{name}").main
    assert f"``querydet {ENTRIES[name]}``" in (ROOT / "tools" / f"{name}.py").read_text()


def test_run_as_a_script_it_has_the_arguments_help_and_exit_status_of_the_command(tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["plot", "curves", "--help"])
    environment = {"PYTHONPATH": str(ROOT)}
    script = [sys.executable, "-W", "ignore", str(ROOT / "tools" / "plot_curves.py")]
    done = subprocess.run([*script, "--help"], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == capsys.readouterr().out
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "RUN" in done.stderr
