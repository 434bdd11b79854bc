"""Print a config as YAML, with interpolations resolved and overrides applied.

    querydet config dino_r50_4scale_12ep                            # a recipe, by its name
    querydet config dino/configs/dino_r50_4scale_12ep.py model.num_classes=3
    querydet config common/models/dino.py --key model.criterion     # a part of a composition
    querydet config output/mine/config.yaml --unresolved            # a run, ${...} as written

NAME is a path, the folder of a run, the name of a shipped config file, its last part without .py, or a name of the
model zoo. The output of a complete config is a config file itself. Overrides are checked as in training: a key has to
exist.
"""

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
from querydet.cli.options import command_parser, split_overrides
from querydet.config import apply_overrides, get_config, shipped_configs
from querydet.config.safe_yaml import CONFIG_FILE
from querydet.utils.targets import TARGET
from querydet.utils.texts import nearest


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 2, with one line that says why, for wrong names and overrides."""
    parser = command_parser("config", __doc__)
    parser.add_argument("name", metavar="NAME", help="config to print; key=value behind it changes it")
    parser.add_argument("--key", metavar="KEY", help="print only this node, such as model.criterion")
    parser.add_argument("--unresolved", action="store_true", help="leave interpolations such as ${model.num_classes}")
    given, overrides = split_overrides(argv)
    args = parser.parse_args(given)
    try:
        cfg = apply_overrides(load(args.name), overrides)
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
