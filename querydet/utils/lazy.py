"""Dicts of LazyConfig nodes."""

from collections.abc import Mapping
from typing import Any

from detectron2.config import instantiate


def instantiate_values(nodes: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Instantiate the values of a dict in a LazyConfig node; values that are no nodes are kept.

    Detectron2's `instantiate` recurses into lists but not into dicts. Entries that are None are left out, so that an
    override can remove one.

    Args:
        nodes: nodes or built objects by name.
        owner: what the entries are, for the message.

    Raises:
        TypeError: `nodes` is no mapping.
    """
    if not isinstance(nodes, Mapping):
        raise TypeError(f"the {owner} have names: give a dict, found {type(nodes).__name__}")
    return {str(name): instantiate(node) for name, node in nodes.items() if node is not None}
