"""Being told when a part of a detector begins and ends: what timing and counting by part is made of."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn

from querydet.modeling.detector import QueryDetector

MODULES = ("backbone", "neck", "encoder", "selection", "denoising", "decoder", "heads")


@contextmanager
def watch_parts(model: QueryDetector, enter: Callable[[str], None], leave: Callable[[str], None]) -> Iterator[None]:
    """Calls functions when a part of a detector begins and ends, also when it fails.

    Parts are the modules of `MODULES`, ``preprocess``, ``postprocess``, and in training ``losses`` (all of the
    criterion) with ``assignment`` inside of it. What a decoder does with the heads between its layers is the decoder's.
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
