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
    moved: Node = OmegaConf.create(
        deepen(OmegaConf.to_container(node, resolve=False), levels), flags={"allow_objects": True}
    )
    return moved


def deepen(content: Any, levels: int = 1) -> Any:
    """Do the same with plain dicts and lists."""
    return _deepen(content, 0, levels)


def _deepen(value: Any, depth: int, levels: int) -> Any:
    if isinstance(value, dict):
        return {key: _deepen(child, depth + 1, levels) for key, child in value.items()}
    if isinstance(value, list):
        return [_deepen(child, depth + 1, levels) for child in value]
    if isinstance(value, str) and "${" in value:
        # a value of the node itself has depth 1, and leaves the node with two dots
        return _RELATIVE.sub(lambda dots: dots.group() + "." * levels * (len(dots.group(1)) > depth), value)
    return value
