"""Callbacks around the parts of a detector, on which timing and counting by part are built."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn

from querydet.modeling.detector import QueryDetector

MODULES = ("backbone", "neck", "encoder", "masks", "selection", "denoising", "decoder", "heads")


@contextmanager
def watch_parts(model: QueryDetector, enter: Callable[[str], None], leave: Callable[[str], None]) -> Iterator[None]:
    """Call `enter` and `leave` around every part of a detector, also when the part fails.

    Parts are the modules of `MODULES`, `preprocess`, `postprocess`, and in training `losses` (the whole criterion) with
    `assignment` inside of it. Heads that the decoder applies between its layers count as part of the decoder, and so do
    masks that it makes there. `masks` runs twice in inference: after the encoder, and for the detections.

    Args:
        model: a detector.
        enter: called with the name of a part before it runs.
        leave: called with the same name afterwards.
    """
    with ExitStack() as stack:
        for name in MODULES:
            module = getattr(model, name, None)
            if isinstance(module, nn.Module):
                before = module.register_forward_pre_hook(lambda *_, part=name: enter(part))
                after = module.register_forward_hook(lambda *_, part=name: leave(part), always_call=True)
                stack.callback(before.remove)
                stack.callback(after.remove)
        for owner, attribute, name in (  # neither of them is a module
            (model, "preprocess", "preprocess"),
            (model, "postprocess", "postprocess"),
            (model.masks, "add_masks", "masks"),
            (model, "criterion", "losses"),
            (model.criterion, "assign", "assignment"),
        ):
            if hasattr(owner, attribute):
                watched = _watched(getattr(owner, attribute), name, enter, leave)
                stack.enter_context(patch.object(owner, attribute, watched))
        yield


def _watched(
    function: Callable[..., Any], name: str, enter: Callable[[str], None], leave: Callable[[str], None]
) -> Callable[..., Any]:
    def call(*inputs: Any, **options: Any) -> Any:
        enter(name)
        try:
            return function(*inputs, **options)
        finally:
            leave(name)

    return call
