"""``querydet config``, whose options are in `querydet.cli.arguments.print_config`."""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.utils.registry import _convert_target_to_string
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from querydet import model_zoo
from querydet.cli.arguments.print_config import parse_arguments
from querydet.config import apply_overrides, get_config, shipped_configs
from querydet.config.safe_yaml import CONFIG_FILE
from querydet.utils.targets import TARGET
from querydet.utils.texts import nearest


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 2, with one line that says why, for wrong names and overrides."""
    args = parse_arguments(argv)
    try:
        cfg = apply_overrides(load(args.name), args.overrides)
        content = to_plain(cfg, resolve=not args.unresolved)
        text = to_yaml(select(content, args.key) if args.key else content)
    except (FileNotFoundError, ValueError) as error:
        print(f"querydet config: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0


def load(name: str) -> DictConfig:
    """Load a config.

    Args:
        name: as `querydet.config.find_config` takes it, the folder of a run, the file name of a shipped config without
            its folder and suffix, or a name of the model zoo. Of several such files a recipe in ``projects/`` comes
            first.

    Raises:
        FileNotFoundError: there is none; the message has the nearest name.
        ValueError: several files have the name, or the file is refused.
    """
    if os.path.isfile(os.path.join(name, CONFIG_FILE)):
        return get_config(os.path.join(name, CONFIG_FILE))
    if Path(name).suffix in (".py", ".yaml", ".yml"):
        return get_config(name)
    shipped = shipped_configs()
    files = [path for path in shipped if Path(path).stem == name]
    files = [path for path in files if path.startswith("projects/")] or files
    if len(files) > 1:
        raise ValueError(f"'{name}' is the name of several configs: {', '.join(files)}")
    if files:
        return get_config(files[0])
    if name in model_zoo.names():
        return model_zoo.get_config(name)
    known = {Path(path).stem for path in shipped} | set(model_zoo.names())
    raise FileNotFoundError(f"there is no config '{name}'; did you mean '{nearest(name, known)[0]}'?")


def to_plain(cfg: DictConfig, resolve: bool) -> Any:
    """Return dicts, lists and values of a config, with targets by name as in a saved config.

    Args:
        cfg: the config.
        resolve: whether to replace interpolations by their values.

    Raises:
        ValueError: an interpolation refers to a key that the config does not have.
    """
    try:
        return _name_targets(OmegaConf.to_container(cfg, resolve=resolve))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"'{error.full_key}' cannot be resolved, add --unresolved: {reason}") from error


def _name_targets(content: Any) -> Any:
    if isinstance(content, list):
        return [_name_targets(child) for child in content]
    if not isinstance(content, dict):
        return content
    named = {key: _name_targets(child) for key, child in content.items()}
    if callable(named.get(TARGET)):
        named[TARGET] = _convert_target_to_string(named[TARGET])
    return {TARGET: named[TARGET], **named} if TARGET in named else named


def select(content: Any, key: str) -> Any:
    """Return a node of a config.

    Args:
        content: from `to_plain`.
        key: with dots, such as ``model.criterion``; entries of lists by their index.

    Raises:
        ValueError: there is no such key; the message has the nearest one.
    """
    node, path = content, ""
    for part in key.split("."):
        children = _children(node)
        if part not in children:
            near = difflib.get_close_matches(part, children, n=1, cutoff=0.0)
            hint = f"did you mean '{path}{near[0]}'?" if near else f"'{path[:-1]}' has no keys"
            raise ValueError(f"there is no key '{key}': {hint}")
        node, path = children[part], f"{path}{part}."
    return node


def _children(node: Any) -> dict[str, Any]:
    if isinstance(node, dict):
        return {str(name): child for name, child in node.items()}
    return {str(index): child for index, child in enumerate(node)} if isinstance(node, list) else {}


class _Dumper(yaml.Dumper):
    """YAML without anchors: an equal node is written again."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(content: Any) -> str:
    """Return plain content as YAML; classes and functions that stand for themselves become tags with their names."""
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
    return text.removesuffix("...\n")
