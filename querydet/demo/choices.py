"""The models that the demo page offers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from querydet.checkpoint import check_exists
from querydet.config import find_config

CONFIG = "config.yaml"  # in the folder of a run
FIRST = ("model_best.pth", "model_final.pth")  # checkpoints that are listed first


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of the list of models.

    Args:
        name: label in the list.
        config: path of a config, or a name of the model zoo.
        weights: path of a checkpoint; None: that of the zoo.
    """

    name: str
    config: str
    weights: str | None = None


def find_choices(items: Sequence[str], config: str | None = None, weights: Sequence[str] = ()) -> list[Choice]:
    """Collect the models that the command line asks for.

    Args:
        items: folders of runs, whose checkpoints are all offered, and names of the model zoo.
        config: config of `weights`.
        weights: paths of checkpoints.

    Raises:
        FileNotFoundError: a file does not exist, or a folder has no config or no checkpoints.
        KeyError: the model zoo has no entry of this name.
        ValueError: there is no model, or only one of `config` and `weights` is given.
    """
    if bool(config) != bool(weights):
        raise ValueError("--config-file and --weights belong together: give both, or a run's folder")
    choices = [choice for item in items for choice in (_of_run(item) if os.path.isdir(item) else [_of_zoo(item)])]
    for path in weights:
        assert config is not None
        find_config(config)
        check_exists(path)
        choices.append(Choice(f"{os.path.basename(config)}: {os.path.basename(path)}", config, path))
    if not choices:
        raise ValueError("there is no model to show: give a run's folder, a name of the model zoo, or a checkpoint")
    return choices


def _of_run(folder: str) -> list[Choice]:
    config = os.path.join(folder, CONFIG)
    if not os.path.isfile(config):
        raise FileNotFoundError(f"{folder} is no folder of a training run: it has no {CONFIG}")
    names = sorted((path.name for path in Path(folder).glob("*.pth")), reverse=True)
    names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    if not names:
        raise FileNotFoundError(f"the run in {folder} has no checkpoints (*.pth) yet")
    run = os.path.basename(os.path.abspath(folder))
    return [Choice(f"{run}: {name}", config, os.path.join(folder, name)) for name in names]


def _of_zoo(name: str) -> Choice:
    from querydet import model_zoo  # imported late: only needed for names of the zoo

    if os.path.splitext(name)[1] in (".py", ".yaml", ".yml", ".pth", ".pkl"):
        raise ValueError(f"'{name}' alone is no model: use --config-file CONFIG --weights CHECKPOINT")
    try:
        return Choice(name, model_zoo.get_entry(name).name)
    except KeyError as error:
        raise KeyError(f"'{name}' is no folder, and {error.args[0]}") from error
