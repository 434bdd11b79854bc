"""A limit on the size of what a config builds, so that a number in it ends with a message instead of a hang.

Weights and modules are counted when they are registered: building stops after a number of them that no detector has.
What is in a copy, which registers nothing, is counted when the copy is registered. Before that, every tensor is refused
whose size no detector has, as some are filled, or made from others, without being registered.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules import module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MAX_TENSOR = 100_000_000  # numbers in a tensor; ours: the largest of a shipped model has 10 million
MAX_WEIGHTS = 1_000_000_000  # numbers in parameters and buffers; ours: the largest shipped model has 661 million
MAX_ENTRIES = 20_000  # modules, parameters and buffers; ours: the largest shipped model has about 3,000


class TooLargeError(ValueError):
    """What is being built is larger than any detector."""


class _Counter:
    """Counts weights and entries of modules; `advice` says how to build larger models."""

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._weights = self._entries = 0
        self._known: set[nn.Module] = set()  # whose entries are counted already

    def count(self, owner: nn.Module, name: str, value: object) -> None:
        """Count one entry and all entries of a copy; a hook of registrations."""
        self._known.add(owner)
        self._add(value)
        for part in value.modules() if isinstance(value, nn.Module) else ():
            if part not in self._known:
                self._known.add(part)
                for entry in (*part._parameters.values(), *part._buffers.values(), *part._modules.values()):
                    self._add(entry)

    def _add(self, value: object) -> None:
        self._entries += 1
        self._weights += value.numel() if isinstance(value, Tensor) and not nn.parameter.is_lazy(value) else 0
        if self._weights > MAX_WEIGHTS or self._entries > MAX_ENTRIES:
            raise TooLargeError(
                f"refused to build a model of more than {MAX_WEIGHTS:,} weights or {MAX_ENTRIES:,} modules, parameters "
                f"and buffers: a number in the config is too large; {self._advice}"
            )


class _TensorLimit(TorchDispatchMode):
    """Refuses tensors above `MAX_TENSOR` before torch reserves their memory; `advice` says how to make larger ones."""

    def __init__(self, advice: str) -> None:
        super().__init__()
        self._advice = advice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, kwargs or {})
        size = _size_of_result(func, given) if _most(given) > MAX_TENSOR else 0
        if size > MAX_TENSOR:
            raise TooLargeError(
                f"refused to make a tensor of {size:,} numbers, more than {MAX_TENSOR:,}: a number in the config is "
                f"too large; {self._advice}"
            )
        return func(*args, **given[1])


def _most(given: Any) -> float:
    """Bound the numbers in the result of an operation, whatever it does with the sizes in its arguments."""
    leaves = tree_leaves(given)
    tensors = math.prod(leaf.numel() for leaf in leaves if isinstance(leaf, Tensor) and leaf.numel())
    return max(tensors, math.prod(abs(leaf) for leaf in leaves if isinstance(leaf, int | float) and abs(leaf) > 1))


def _size_of_result(func: Any, given: Any) -> int:
    """Return the numbers in the new tensors of an operation, which is not run; 0 where only running it tells."""
    args, kwargs = given
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            made = func(*args, **kwargs)
    except (RuntimeError, ValueError, TypeError):  # the operation itself will say so
        return 0
    if any(result.alias_info is not None for result in func._schema.returns):  # views, and what is changed in place
        return 0
    return sum(leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor))


@contextlib.contextmanager
def bounded_size(advice: str) -> Iterator[None]:
    """Count what modules register meanwhile, and look at every tensor.

    Args:
        advice: end of the message, which says how to build larger models.

    Raises:
        TooLargeError: there are more than `MAX_WEIGHTS` weights or `MAX_ENTRIES` modules, parameters and buffers, or a
            tensor has more than `MAX_TENSOR` numbers.
    """
    counter = _Counter(advice)
    with contextlib.ExitStack() as stack:
        for register in (
            module.register_module_parameter_registration_hook,
            module.register_module_buffer_registration_hook,
            module.register_module_module_registration_hook,
        ):
            stack.callback(register(counter.count).remove)
        stack.enter_context(_TensorLimit(advice))
        yield
