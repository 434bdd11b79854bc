"""A device without a device: tensors that compute on the CPU but may only be read where a GPU would be waited for.

It finds the places where a training step makes the host wait, on machines that have no GPU.
"""

import importlib.util
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torchvision  # noqa: F401 (registers its operators)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")  # what the tensors say of themselves
ROOT = Path(__file__).parents[1]
aten, make_tensor = torch.ops.aten, torch.tensor
# What a GPU must have finished before the host can go on: their results are numbers, or sizes, on the host.
WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
    torch.ops.torchvision.nms.default,
}


def find_cuda_kernels() -> set[str]:
    """The project's operators that have a CUDA kernel, as the sources that setup.py compiles say.

    All others run their definition on a GPU, and wait as often as what it is made of.
    """
    spec = importlib.util.spec_from_file_location("querydet_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    found = set()
    for name in setup.CUDA_SOURCES:
        source = (ROOT / setup.SOURCES / "cuda" / name).read_text()
        for block in re.findall(r"STABLE_TORCH_LIBRARY_IMPL\(querydet, CUDA, \w+\) \{(.*?)\n\}", source, re.DOTALL):
            found |= {f"querydet::{operator}" for operator in re.findall(r'\.impl\("(\w+)"', block)}
    return found


CUDA_KERNELS = find_cuda_kernels()


class OnDevice(Tensor):
    """A tensor that says it is on `DEVICE`; its numbers are in ``inner``."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnDevice":
        found = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called outside of Synchronisations")


class Synchronisations(TorchDispatchMode):
    """Runs a model that was moved by :func:`move`, and counts what makes the host wait for the device.

    ``found`` counts, by kind and by the line of the project that did it: "read" (numbers or sizes that the host asks
    for), "copy to host", "copy to device" (one that waits, being neither of pinned memory nor asked not to wait), "mix"
    (an operator of tensors of both, which copies by itself). An operator of the project without a CUDA kernel is
    entered:
    what its definition does is counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, str]] = Counter()
        self.sent = 0  # copies to the device, whether they wait or not

    def __enter__(self) -> "Synchronisations":
        self._patch = mock.patch.object(torch, "tensor", self._make)  # it does not come by here
        self._patch.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patch.__exit__(*error)

    def _make(self, data: Any, *, device: Any = None, **options: Any) -> Tensor:
        if device is None or torch.device(device) != DEVICE:
            return make_tensor(data, device=device, **options)
        self._add("copy to device")
        return OnDevice(make_tensor(data, **options))

    @property
    def kinds(self) -> dict[str, int]:
        """How many of each kind."""
        total: Counter[str] = Counter()
        for (kind, _), number in self.found.items():
            total[kind] += number
        return dict(total)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        inside = [each for each in flat if isinstance(each, OnDevice)]
        if inside and func.namespace == "querydet" and func._schema.name not in CUDA_KERNELS:
            with nested(self):
                return func._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args, **kwargs)
        wanted = kwargs.get("device")
        to_device = bool(inside) if wanted is None else torch.device(wanted) == DEVICE
        if wanted is not None and torch.device(wanted) == DEVICE:
            kwargs["device"] = torch.device("cpu")
        self._count(func, args, kwargs, flat, inside, to_device)
        wrappers = {id(each.inner): each for each in inside}
        args, kwargs = tree_map(lambda each: each.inner if isinstance(each, OnDevice) else each, (args, kwargs))
        result = func(*args, **kwargs)
        if not to_device:
            return result
        return tree_map(
            lambda each: wrappers.get(id(each), OnDevice(each)) if isinstance(each, Tensor) else each, result
        )

    def _count(
        self, func: Any, args: Any, kwargs: dict[str, Any], flat: list[Tensor], inside: list[OnDevice], to_device: bool
    ) -> None:
        outside = [each for each in flat if not isinstance(each, OnDevice) and each.dim() > 0]
        if func in (aten._to_copy.default, aten.copy_.default):
            self.sent += bool(outside and to_device)
            if inside and not to_device:
                self._add("copy to host")
            elif outside and to_device and not (kwargs.get("non_blocking") or args[2:] == (True,)):
                self._add("copy to device")
            return
        masks = func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default) and any(
            each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1]
        )
        if inside and (func in WAITING or masks):
            self._add("read")
        if inside and outside:
            self._add("mix")

    def _add(self, kind: str) -> None:
        lines = [
            f"{Path(frame.filename).relative_to(ROOT)}:{frame.name}: {frame.line}"
            for frame in traceback.extract_stack()
            if Path(frame.filename).is_relative_to(ROOT / "querydet")
        ]
        self.found[kind, lines[-1] if lines else "elsewhere"] += 1


@contextmanager
def nested(counter: Synchronisations) -> Iterator[None]:
    """Counts inside of an operator that is being dispatched; ``torch.tensor`` is replaced already."""
    TorchDispatchMode.__enter__(counter)
    try:
        yield
    finally:
        TorchDispatchMode.__exit__(counter, None, None, None)


def move(model: nn.Module) -> nn.Module:
    """Put the parameters and buffers of a model on the device."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                with Synchronisations():
                    moved = nn.Parameter(OnDevice(parameter.detach()), requires_grad=parameter.requires_grad)
                module._parameters[name] = moved
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = OnDevice(buffer)
    return model
