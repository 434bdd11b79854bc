"""A limit on the size of what a config builds, so that a number in it ends with a message instead of a hang.

Torch reserves the memory of a weight before it fills it. Here a weight is counted in between, when its module registers
it: building stops after a number of weights or modules that no detector has, before their memory is used. What is in a
copy, which registers nothing, is counted when the copy is registered.
"""

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules import module

MAX_WEIGHTS = 2_000_000_000  # numbers in parameters and buffers; ours: the largest shipped model has 220 million
MAX_ENTRIES = 20_000  # modules, parameters and buffers; ours: the largest shipped model has about 3,000


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
            raise ValueError(
                f"refused to build a model of more than {MAX_WEIGHTS:,} weights or {MAX_ENTRIES:,} modules, parameters "
                f"and buffers: a number in the config is too large; {self._advice}"
            )


@contextlib.contextmanager
def bounded_size(advice: str) -> Iterator[None]:
    """Count what modules register meanwhile.

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
        yield
