"""Tensors that processes share, as FSDP2 does with parameters: whole ones, and this process's slices."""

from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor


def collected(tree: Any, keep: bool) -> Any:
    """Collect every shared tensor of nested dicts and lists in the memory of the host; all processes call this.

    Args:
        tree: for example a ``state_dict``.
        keep: whether this process needs the tensors; elsewhere None stands in their place.
    """
    if isinstance(tree, DTensor):
        whole = tree.full_tensor()
        return whole.cpu() if keep else None
    if isinstance(tree, dict):
        return {key: collected(value, keep) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(collected(value, keep) for value in tree)
    return tree


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor itself, or all of a shared tensor; all processes call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """Return a tensor itself, or this process's slice of a shared one."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
