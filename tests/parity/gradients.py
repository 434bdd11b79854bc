"""Gradients of our parameters as those of the tables of the released codes, some of which hold several of ours."""

import torch
from torch import Tensor


def gradient(parameters: dict[str, torch.nn.Parameter], name: str) -> Tensor:
    """The gradient of a released parameter whose first rows are ours of this name."""
    found = [parameters[table].grad for table in (name, *_further_tables(parameters, name)) if table in parameters]
    grads = [grad for grad in found if grad is not None]
    assert len(grads) == len(found), name
    return torch.cat(grads) if len(grads) > 1 else grads[0]


def _further_tables(parameters: dict[str, torch.nn.Parameter], name: str) -> tuple[str, ...]:
    """Names of our tables whose rows follow in the released one."""
    if name == "selection.content.weight":
        return ("selection.extra_content.weight",)  # of H-DETR's other group
    if name == "denoising.label_embed.weight" and "decoder.layers.0.level_gate.weight" in parameters:
        return ("selection.content.weight",)  # the label "unknown" of DN-DETR with standard attention
    return ()
