"""Building what the nodes of a LazyConfig describe."""

import traceback
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import instantiate as build
from omegaconf import DictConfig

from querydet.utils.built_size import TooLargeError, bounded_size
from querydet.utils.targets import check_targets, everything_is_allowed, how_to_allow_everything

# What functions of others raise when an argument makes no sense to them.
_OTHERS = (KeyError, IndexError, TypeError, AttributeError, AssertionError, ArithmeticError, RuntimeError, MemoryError)


def instantiate(node: Any) -> Any:
    """Build a node and those inside it with Detectron2's `instantiate`, once every target in it has been checked.

    Raises:
        ValueError: a target may not be called, see `querydet.utils.targets`, in which case nothing was called; a model
            is larger than `querydet.utils.built_size` allows; or code of others fails at the arguments of a node, which
            is named.
    """
    check_targets(node)
    try:
        if everything_is_allowed():
            return build(node)
        with bounded_size(how_to_allow_everything()):
            return build(node)
    except TooLargeError as error:
        text = _failed_node(node, error)
        raise error if text is None else TooLargeError(f"{text}: {error}") from error
    except _OTHERS as error:
        text = None if _explains_itself(error) else _failed_node(node, error)
        if text is None:
            raise
        raise ValueError(f"{text}: {type(error).__name__}: {error}. One of these values is not possible") from error


def _explains_itself(error: BaseException) -> bool:
    """Whether an error is of this project or about a full GPU; a list too long to be made is nobody's message."""
    if isinstance(error, MemoryError):
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, torch.OutOfMemoryError) or frame.f_globals["__name__"].startswith("querydet.")


def _failed_node(node: Any, error: BaseException) -> str | None:
    """Say which node below another could not be built, with its plain arguments; None: no node was being built."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [frame.f_locals for frame in frames if frame.f_code.co_filename == build.__code__.co_filename]
    nodes = [values for values in own if "cls_name" in values]
    if not nodes:
        return None
    above = [node._get_full_key(None)] if isinstance(node, DictConfig) else []
    key = ".".join([*filter(None, above), *(str(values["k"]) for values in own if "k" in values)])
    arguments = nodes[-1]["cfg"]
    plain = [f"{name}={value!r}" for name, value in arguments.items() if isinstance(value, str | int | float)]
    return f"{key}{', which is ' if key else ''}{nodes[-1]['cls_name']}({', '.join(plain)}), cannot be built"


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
