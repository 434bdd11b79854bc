"""Activation checkpointing for one step; `querydet.engine.switches` has that of a whole run."""

import contextlib
import functools
from collections.abc import Iterator

from torch import nn

from querydet.engine.switches import blocks, recomputed


@contextlib.contextmanager
def recomputing(model: nn.Module) -> Iterator[None]:
    """Let a model recompute its activations in the backward pass; the block contains forward and backward pass.

    Parts with a switch of their own (encoder, decoder) are switched, and of a ``backbone`` every block with trainable
    parameters is recomputed, unless they do so anyway.

    Args:
        model: the model, without a wrapper.
    """
    parts = [m for m in model.modules() if getattr(m, "activation_checkpointing", None) is False]
    backbone = getattr(model, "backbone", None)
    own = [] if backbone is None or backbone in parts else [b for b in blocks(backbone) if "forward" not in vars(b)]
    own = [block for block in own if any(p.requires_grad for p in block.parameters())]
    for part in parts:
        part.activation_checkpointing = True  # type: ignore[assignment]
    for block in own:
        block.forward = functools.partial(recomputed, block.forward)
    try:
        yield
    finally:
        for part in parts:
            part.activation_checkpointing = False  # type: ignore[assignment]
        for block in own:
            del block.forward  # that of the class is there again
