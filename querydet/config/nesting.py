"""Nodes of a config that move into another node, together with the interpolations that they hold."""

import re
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf

Node = TypeVar("Node", DictConfig, ListConfig)
_RELATIVE = re.compile(r"\$\{(\.+)")


def deeper(node: Node, levels: int = 1) -> Node:
    """Copy a node for a place that is deeper in the config, so that its relative interpolations still mean the same.

    ``model.selection = L(GroupedSelection)(selection=deeper(model.selection))`` moves a selection one level down: its
    ``${..num_classes}`` becomes ``${...num_classes}``, while interpolations that stay within the node do not change.

    Args:
        node: of a config.
        levels: how much deeper the new place is.
    """
    content: Any = _deeper(OmegaConf.to_container(node, resolve=False), 0, levels)
    moved: Node = OmegaConf.create(content, flags={"allow_objects": True})
    return moved


def _deeper(value: object, depth: int, levels: int) -> object:
    if isinstance(value, dict):
        return {key: _deeper(child, depth + 1, levels) for key, child in value.items()}
    if isinstance(value, list):
        return [_deeper(child, depth + 1, levels) for child in value]
    if isinstance(value, str):
        # a value of the node itself has depth 1, and with two dots leaves the node
        return _RELATIVE.sub(lambda found: found.group() + "." * levels * (len(found.group(1)) > depth), value)
    return value
