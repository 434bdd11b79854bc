"""A limit on the size of what a config builds, so that a number in it ends with a message instead of a hang.

Torch reserves the memory of a weight before it fills it. Here a weight is counted in between, when its module registers
it: building stops after a number of weights or modules that no detector has, before their memory is used.
"""

import contextlib
import contextvars
import copy
from collections.abc import Iterator
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules import module

MAX_WEIGHTS = 2_000_000_000  # numbers in parameters and buffers; ours: the largest shipped model has 220 million
MAX_ENTRIES = 20_000  # modules, parameters and buffers; ours: the largest shipped model has about 3,000

_Module = TypeVar("_Module", bound=nn.Module)


class _Counter:
    """Counts weights and entries of modules; `advice` says how to build larger models."""

    def __init__(self, advice: str) -> None:
        self.advice = advice
        self.weights = self.entries = 0

    def count(self, owner: nn.Module, name: str, value: object) -> None:
        """Count one entry; a hook of registrations."""
        self.add(1, value.numel() if isinstance(value, Tensor) and not nn.parameter.is_lazy(value) else 0)

    def add(self, entries: int, weights: int) -> None:
        self.entries += entries
        self.weights += weights
        if self.weights > MAX_WEIGHTS or self.entries > MAX_ENTRIES:
            raise ValueError(
                f"refused to build a model of more than {MAX_WEIGHTS:,} weights or {MAX_ENTRIES:,} modules, parameters "
                f"and buffers: a number in the config is too large; {self.advice}"
            )


_counter: contextvars.ContextVar[_Counter | None] = contextvars.ContextVar("counter", default=None)


@contextlib.contextmanager
def bounded_size(advice: str) -> Iterator[None]:
    """Count what modules register meanwhile, and what `copy_module` copies.

    Args:
        advice: end of the message, which says how to build larger models.

    Raises:
        ValueError: there are more than `MAX_WEIGHTS` weights or `MAX_ENTRIES` modules, parameters and buffers.
    """
    counter = _Counter(advice)
    with contextlib.ExitStack() as stack:
        for register in (
            module.register_module_parameter_registration_hook,
            module.register_module_buffer_registration_hook,
            module.register_module_module_registration_hook,
        ):
            stack.callback(register(counter.count).remove)
        stack.callback(_counter.reset, _counter.set(counter))
        yield


def copy_module(part: _Module) -> _Module:
    """Return a deep copy of a module; unlike `copy.deepcopy`, which registers nothing, it counts for `bounded_size`.

    Raises:
        ValueError: as for `bounded_size`.
    """
    counter = _counter.get(None)
    if counter is not None:
        tensors = [*part.parameters(), *part.buffers()]
        counter.add(len(tensors) + sum(1 for _ in part.modules()), sum(tensor.numel() for tensor in tensors))
    return copy.deepcopy(part)
