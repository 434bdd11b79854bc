"""The models that the page offers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from querydet.checkpoint import check_exists
from querydet.config import find_config

CONFIG = "config.yaml"  # in a run's folder
FIRST = ("model_best.pth", "model_final.pth")  # of its checkpoints


@dataclass(frozen=True, slots=True)
class Choice:
    """One model of the list.

    Args:
        name: what the list shows.
        config: a config file, or a name of the model zoo.
        weights: its checkpoint; None: the zoo's.
    """

    name: str
    config: str
    weights: str | None = None


def find_choices(items: Sequence[str], config: str | None = None, weights: Sequence[str] = ()) -> list[Choice]:
    """What the command line offers.

    Args:
        items: folders of runs, each of whose checkpoints is offered, and names of the model zoo.
        config: the config of ``weights``.
        weights: checkpoints.

    Raises:
        FileNotFoundError: there is no such file, or a folder without a config or without checkpoints.
        KeyError: no such name in the model zoo.
        ValueError: nothing is offered, or weights without a config or the other way round.
    """
    if bool(config) != bool(weights):
        raise ValueError("--config-file and --weights belong together: give both, or a run's folder")
    found = [choice for item in items for choice in (_of_run(item) if os.path.isdir(item) else [_of_zoo(item)])]
    for path in weights:
        assert config is not None
        find_config(config)
        check_exists(path)
        found.append(Choice(f"{os.path.basename(config)}: {os.path.basename(path)}", config, path))
    if not found:
        raise ValueError("there is no model to show: give a run's folder, a name of the model zoo, or a checkpoint")
    return found


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
    from querydet import model_zoo  # needed for its names alone

    if os.path.splitext(name)[1] in (".py", ".yaml", ".yml", ".pth", ".pkl"):
        raise ValueError(f"'{name}' alone is no model: use --config-file CONFIG --weights CHECKPOINT")
    try:
        return Choice(name, model_zoo.get_entry(name).name)
    except KeyError as error:
        raise KeyError(f"'{name}' is no folder, and {error.args[0]}") from error
