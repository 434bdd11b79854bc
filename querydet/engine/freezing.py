"""Parts of a model that a run leaves as they are: ``train.freeze``.

A learning rate of 0 is not the same. A frozen part is in evaluation mode, so that its dropout is off and its running
statistics stay; it has no gradients, which would count in the norm that is clipped; and where nothing in front of it is
trained, its activations are not kept.
"""

import functools
import logging
from collections.abc import Callable, Iterable
from itertools import takewhile
from types import MethodType
from typing import Any

import torch
from torch import nn

from querydet.utils.model_parts import named_parts

logger = logging.getLogger(__name__)

OPTION = "train.freeze"
FIRST = ("backbone", "neck", "encoder")  # the parts that run first, in this order; their input is nothing but images


def freeze_parts(model: nn.Module, names: Iterable[str] | None) -> None:
    """Freeze parts of a model, in place; before an optimizer or a wrapper sees it.

    Parameters get no gradients, and the parts stay in evaluation mode when the model is set to training mode. Those
    among the first parts of the model that have frozen parts alone in front of them run without recording gradients.

    Args:
        model: its attributes are the parts.
        names: a list of their names; None: none.

    Raises:
        ValueError: a part that the model does not have.
    """
    parts = named_parts(model, names, OPTION)
    for name, part in parts.items():
        part.requires_grad_(False)
        part.train = MethodType(_stay_in_evaluation, part)  # type: ignore[method-assign]
        part.eval()
        logger.info("Frozen: %s, %d parameters", name, sum(parameter.numel() for parameter in part.parameters()))
    for name in takewhile(parts.__contains__, (name for name in FIRST if hasattr(model, name))):
        parts[name].forward = functools.partial(_without_gradients, parts[name].forward)


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    return nn.Module.train(module, False)


def _without_gradients(forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    with torch.no_grad():
        return forward(*inputs, **options)
