"""The program ``querydet``: finds the command, reads its options, then imports its module and nothing of the others."""

import difflib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Command:
    """An entry of the list of commands.

    Args:
        module: in ``querydet.cli``, and of its options in ``querydet.cli.arguments``.
        about: line in ``querydet --help``.
        function: of the module; it gets the arguments behind the command and returns the exit status.
        options: function that parses them.
    """

    module: str
    about: str
    function: str = "main"
    options: str = "parse_arguments"


# In the order of --help. The names of commands in a group have two words.
COMMANDS: dict[str, Command] = {
    "train": Command("train", "train a detector"),
    "eval": Command("train", "evaluate a checkpoint on a config's test data", "evaluate", "parse_evaluation"),
    "predict": Command("predict", "detect on images, folders and videos"),
    "demo": Command("demo", "try models on images in the browser"),
    "zoo": Command("list_models", "list the published models, download their weights"),
    "config": Command("print_config", "print a resolved config as YAML"),
    "check-data": Command("check_dataset", "examine a data set before training"),
    "convert": Command("convert_checkpoint", "convert a published checkpoint"),
    "export": Command("export_model", "export a checkpoint, torch.export program or ONNX graph"),
    "quantize": Command("quantize", "turn a checkpoint into a detector that computes in 8 bit on a CPU"),
    "analyze": Command("analyze_model", "count parameters, FLOPs and activations; time the parts of a model"),
    "errors": Command("analyze_errors", "find the kinds of errors in results, and the AP that each costs"),
    "compare-matching": Command("compare_matching", "measure changes of the matching between checkpoints"),
    "groups": Command("explain_groups", "evaluate and draw the groups of queries of a checkpoint"),
    "report": Command("report", "write one HTML file about training runs"),
    "plot curves": Command("plot_curves", "plot loss, AP and other metrics of runs"),
    "plot candidates": Command("plot_candidates", "plot the quality of candidates by rank"),
    "visualize data": Command("visualize_data", "draw training data after augmentation"),
    "visualize model": Command("visualize_model", "draw references, sampling points, candidates, denoising queries"),
    "visualize predictions": Command("visualize_predictions", "draw predictions beside ground truth"),
    "replay": Command("replay_step", "repeat the training step that stopped a run with NaN"),
    "slurm": Command("slurm_train", "submit a training run to Slurm"),
}

_USAGE = """usage: querydet COMMAND [options] [key=value ...]

Query-based object detectors for Detectron2.

{commands}

"querydet COMMAND --help" explains a command. key=value changes the config, such as train.device=cpu. An example:

  querydet train --config-file quick/dino_synthetic.py --num-gpus 0 train.output_dir=output/first
  querydet predict --config-file quick/dino_synthetic.py --weights output/first/model_final.pth --input a.jpg --output .

"python -m querydet" is the same program. Options without a command are those of train. --version prints the version.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the command and its arguments; None: those of this process.

    Returns:
        The exit status: that of the command, 2 where there is no such command.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if given == ["--version"]:
        from querydet import __version__

        print(f"querydet {__version__}")
        return 0
    if given[:1] in (["-h"], ["--help"], ["help"]):
        print(_USAGE.format(commands=list_commands()))
        return 0
    if not given:
        print(_USAGE.format(commands=list_commands()), file=sys.stderr)
        return 2
    if given[0].startswith("-"):  # "python -m querydet --config-file ..." of earlier versions
        given.insert(0, "train")
    name, rest = find_command(given)
    if name not in COMMANDS:
        return _explain(name, rest)
    command = COMMANDS[name]
    # First without the command's module, which loads torch: help and mistakes are answered at once.
    getattr(importlib.import_module(f"querydet.cli.arguments.{command.module}"), command.options)(rest)
    # OpenMP threads that spin while they wait slow down other processes on the same cores. OpenMP reads the variable
    # when torch is imported, that is with the module of the command.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return getattr(load_module(f"querydet.cli.{command.module}"), command.function)(rest)


def load_module(name: str) -> ModuleType:
    """Import the module of a command; the first time without looking for garbage among what is loaded with it.

    Python's collector would go through the objects of torch and all other libraries again and again, which takes a
    seventh of the time of loading them. They live as long as the process, and stay exempt.
    """
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def find_command(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Split a command line into the name of the command, of one or two words, and its arguments.

    Args:
        argv: at least one argument.

    Returns:
        The first word where it and the second are no command together; it need not be a command either.
    """
    two = " ".join(argv[:2])
    words = 2 if two in COMMANDS else 1
    return " ".join(argv[:words]), list(argv[words:])


def list_commands(group: str = "") -> str:
    """Return a line for each command, or for each of a group such as "plot"."""
    names = [name for name in COMMANDS if not group or name.split()[0] == group]
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}}  {COMMANDS[name].about}" for name in names)


def _explain(name: str, rest: Sequence[str]) -> int:
    if any(command.split()[0] == name for command in COMMANDS):  # a group
        helped = rest[:1] in (["-h"], ["--help"])
        usage = f"usage: querydet {name} COMMAND [options]\n\n{list_commands(name)}\n"
        print(usage, file=sys.stdout if helped else sys.stderr)
        return 0 if helped else 2
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    print(f"querydet: there is no command '{name}'{hint} See querydet --help", file=sys.stderr)
    return 2
