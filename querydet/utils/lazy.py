"""Building what the nodes of a LazyConfig describe."""

from collections.abc import Mapping
from typing import Any

from detectron2.config import instantiate as build

from querydet.utils.built_size import bounded_size
from querydet.utils.targets import check_targets, everything_is_allowed, how_to_allow_everything


def instantiate(node: Any) -> Any:
    """Build a node and those inside it with Detectron2's `instantiate`, once every target in it has been checked.

    Raises:
        ValueError: a target may not be called, see `querydet.utils.targets`, in which case nothing was called; or a
            model is larger than `querydet.utils.built_size` allows.
    """
    check_targets(node)
    if everything_is_allowed():
        return build(node)
    with bounded_size(how_to_allow_everything()):
        return build(node)


def instantiate_values(nodes: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Instantiate the values of a dict in a LazyConfig node; values that are no nodes are kept.

    Detectron2's `instantiate` recurses into lists but not into dicts. Entries that are None are left out, so that an
    override can remove one.

    Args:
        nodes: nodes or built objects by name.
        owner: what the entries are, for the message.

    Raises:
        TypeError: `nodes` is no mapping.
        ValueError: a target may not be called.
    """
    if not isinstance(nodes, Mapping):
        raise TypeError(f"the {owner} have names: give a dict, found {type(nodes).__name__}")
    return {str(name): instantiate(node) for name, node in nodes.items() if node is not None}
