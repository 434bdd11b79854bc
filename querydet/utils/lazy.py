"""Dicts of LazyConfig nodes."""

from collections.abc import Mapping
from typing import Any

from detectron2.config import instantiate


def instantiate_values(nodes: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Build the values of a dict that a LazyConfig node holds; values that are built already stay as they are.

    Detectron2's ``instantiate`` builds nodes in lists and leaves those in dicts to whom it gives the dict. Entries that
    are None are left out, so that an override can remove one.

    Args:
        nodes: by name.
        owner: of the dict, for the message.

    Raises:
        TypeError: anything else than a mapping.
    """
    if not isinstance(nodes, Mapping):
        raise TypeError(f"the {owner} have names: give a dict, found {type(nodes).__name__}")
    return {str(name): instantiate(node) for name, node in nodes.items() if node is not None}
