"""Switches of ``train`` that change speed and memory but not results: activation checkpointing and compilation.

Neither changes the names of parameters: checkpoints and learning-rate rules do not notice.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.checkpoint import checkpoint

from querydet.utils.model_parts import named_parts

logger = logging.getLogger(__name__)


def apply_switches(model: nn.Module, train: DictConfig) -> None:
    """Apply ``train.activation_checkpointing`` and ``train.compile`` to a model.

    Raises:
        ValueError: a part that the model does not have, or a backend that torch does not know.
    """
    checkpoint_activations(model, train.activation_checkpointing)
    compile_parts(model, train.compile.parts, train.compile.backend, train.compile.dynamic)


def checkpoint_activations(model: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of a model recompute their activations in the backward pass instead of keeping them.

    A part with a switch of its own (encoder, decoder) is switched; of any other, such as a backbone, every block with
    trainable parameters is recomputed. Random draws, of dropout for example, are repeated.

    Args:
        model: its attributes are the parts.
        parts: their names.

    Raises:
        ValueError: a part that the model does not have.
    """
    for name, part in named_parts(model, parts, "train.activation_checkpointing").items():
        if hasattr(part, "activation_checkpointing"):
            part.activation_checkpointing = True  # type: ignore[assignment]
            continue
        found = [block for block in blocks(part) if any(p.requires_grad for p in block.parameters())]
        for block in found:
            block.forward = functools.partial(recomputed, block.forward)
        logger.info("Activation checkpointing: %d blocks of %s", len(found), name)


def compile_parts(
    model: nn.Module, parts: Sequence[str], backend: str = "inductor", dynamic: bool | None = None
) -> None:
    """Compile parts of a model in place, at their first call.

    Args:
        model: its attributes are the parts.
        parts: their names.
        backend: backend of ``torch.compile``.
        dynamic: whether to compile for any size at once; None lets torch find out, by compiling again.

    Raises:
        ValueError: a part that the model does not have, or an unknown backend.
    """
    found = named_parts(model, parts, "train.compile.parts")
    if not found:
        return  # before the list of backends, which loads torch's compiler
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise ValueError(f"train.compile.backend has to be one of {', '.join(known)}, got {backend!r}")
    for part in found.values():
        part.compile(backend=backend, dynamic=dynamic)


def blocks(module: nn.Module) -> list[nn.Module]:
    """List the members of a module's outermost stacks, such as residual blocks; else the module itself."""
    return list(_stacked(module)) or [module]


def _stacked(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(child):
            yield from child
        else:
            yield from _stacked(child)


def recomputed(forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    """Call a forward method whose activations are computed again in the backward pass."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, **options)
