"""The program ``querydet``: which module gets which arguments, and messages about anything else."""

import gc
import subprocess
import sys
from types import SimpleNamespace

import pytest

import querydet
from querydet.cli import commands
from querydet.cli.commands import COMMANDS, find_command, list_commands, main
from tests.engine.conftest import ROOT


def run(*arguments, script=("-m", "querydet"), **options):
    command = [sys.executable, *script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, **options)


FUNCTIONS = {"querydet.cli": ("main", "evaluate"), "querydet.cli.arguments": ("parse_arguments", "parse_evaluation")}


@pytest.fixture
def called(monkeypatch):
    """Calls of the functions of commands, which do nothing here and return 3."""
    calls = []

    def import_module(name):
        module, _, _ = name.rpartition(".")
        assert module in ("querydet.cli", "querydet.cli.arguments")

        def record(function):
            return lambda argv: calls.append((name.removeprefix("querydet.cli."), function, argv)) or 3

        return SimpleNamespace(**{name: record(name) for name in FUNCTIONS[module]})

    monkeypatch.setattr(commands.importlib, "import_module", import_module)
    return calls


def test_every_command_gets_its_own_arguments_and_decides_about_the_exit_status(called):
    for name, command in COMMANDS.items():
        assert main([*name.split(), "--option", "x", "a.b=1"]) == 3
        given = ["--option", "x", "a.b=1"]
        assert called == [
            (f"arguments.{command.module}", command.options, given),
            (command.module, command.function, given),
        ]
        called.clear()


def test_options_without_a_command_are_those_of_training(called):
    assert main(["--config-file", "x.py", "--num-gpus", "0", "train.max_iter=1"]) == 3
    assert called[1:] == [("train", "main", ["--config-file", "x.py", "--num-gpus", "0", "train.max_iter=1"])]


def test_arguments_are_those_of_the_process_by_default(called, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["querydet", "zoo", "a"])
    main()
    assert called[1:] == [("list_models", "main", ["a"])]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*name.split(), "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: querydet {name} ")
    assert len(printed) > 300
    assert "tools/" not in printed
    assert "train_net.py" not in printed


def test_help_and_mistakes_load_no_library():
    """One process for all commands: what one of them loads would be loaded at the end."""
    code = """
import sys
from querydet.cli.commands import COMMANDS, main
for name in COMMANDS:
    for argument in ("--help", "--no-such-option"):
        try:
            main([*name.split(), argument])
        except SystemExit as end:
            print(name, argument, end.code)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "numpy", "detectron2", "omegaconf", "yaml"}))
"""
    done = run(script=("-c", code))
    ended = [line for line in done.stdout.splitlines() if line.endswith((" 0", " 2"))]
    assert len([line for line in ended if line.endswith("--help 0")]) == len(COMMANDS)
    assert len([line for line in ended if line.endswith("--no-such-option 2")]) >= len(COMMANDS) - 2, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("script", ["train_net.py", *(f"tools/{path.name}" for path in (ROOT / "tools").glob("*.py"))])
def test_help_of_a_file_loads_no_library(script):
    code = f"""
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    print(end.code)
print(sorted({{"torch", "detectron2"}} & sys.modules.keys()))
"""
    done = run(script=("-c", code))
    assert done.stdout.splitlines()[-2:] == ["0", "[]"], done.stderr


def test_the_collector_runs_again_once_a_module_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "module_of_a_command.py").write_text("import gc\nseen = gc.isenabled()\n")
    (tmp_path / "broken_command.py").write_text("raise KeyError\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert not commands.load_module("module_of_a_command").seen
    assert gc.isenabled()
    with pytest.raises(KeyError):
        commands.load_module("broken_command")
    assert gc.isenabled()
    gc.unfreeze()  # of this process, which runs other tests


def test_help_lists_every_command_and_the_options_of_training(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed and command.about in printed for name, command in COMMANDS.items())
    assert "--config-file" in printed
    assert main(["-h"]) == main(["help"]) == 0
    assert capsys.readouterr().out == 2 * printed
    assert main([]) == 2
    assert capsys.readouterr() == ("", printed)


def test_a_group_lists_its_commands(capsys):
    assert main(["plot", "--help"]) == 0
    assert list_commands("plot") in capsys.readouterr().out
    assert "visualize" not in list_commands("plot")
    for argv in (["plot"], ["plot", "output/run"]):
        assert main(argv) == 2
        assert "plot candidates" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "near"), [("evl", "eval"), ("check_data", "check-data"), ("visualise", "visualize")])
def test_an_unknown_command_is_answered_with_the_nearest_one(name, near, capsys):
    assert main([name, "--option"]) == 2
    printed = capsys.readouterr().err
    assert f"no command '{name}'; did you mean '{near}" in printed
    assert printed.count("\n") == 1


def test_an_unknown_command_that_resembles_none_is_answered_with_the_list(capsys):
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "querydet: there is no command 'list'. See querydet --help\n"


@pytest.mark.parametrize("script", [("-m", "querydet", "zoo"), ("train_net.py",), ("tools/predict.py",)])
def test_warnings_that_no_user_can_heed_are_not_shown(script):
    assert run("--help", script=script).stderr == ""


def test_names_of_two_words_come_first():
    assert find_command(["plot", "curves", "run"]) == ("plot curves", ["run"])
    assert find_command(["predict", "curves"]) == ("predict", ["curves"])
    assert find_command(["plot"]) == ("plot", [])


def test_the_list_of_commands_needs_neither_torch_nor_detectron2():
    code = "import sys; from querydet.cli.commands import main; main(['--help']); main(['plot']); main(['--version'])\n"
    done = run(script=("-c", code + "print(sorted({'torch', 'detectron2', 'numpy'} & sys.modules.keys()))"))
    assert done.stdout.splitlines()[-2:] == [f"querydet {querydet.__version__}", "[]"], done.stderr


def test_the_module_is_the_program():
    done = run("no-such-command")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no command 'no-such-command'" in done.stderr
    assert run("--version").stdout == f"querydet {querydet.__version__}\n"
