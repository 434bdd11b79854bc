"""What a detector needs of memory: the most of it, and the activations that a training step keeps."""

import contextlib
import copy
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from querydet.analysis.part_hooks import watch_parts
from querydet.modeling.detector import QueryDetector

_aten = torch.ops.aten
# What fvcore's ActivationCountAnalysis counts the outputs of: convolutions and everything that is a matrix product.
_COUNTED = (_aten.convolution, _aten.addmm, _aten.mm, _aten.bmm, _aten.baddbmm)
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak_memory(device: torch.device) -> None:
    """Lets :func:`peak_memory` start from now; on a CPU where the system allows it (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size


def peak_memory(device: torch.device) -> int:
    """Most bytes since :func:`reset_peak_memory`: allocated by torch on a GPU, else resident memory of the process.

    The weights are in both; resident memory also has the libraries, several hundred MB.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux: KiB


@dataclass(frozen=True, slots=True)
class Kept:
    """Tensors that the backward pass needs."""

    bytes_by_part: dict[str, int]
    tensors: int  # different ones

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(self.bytes_by_part.values())


class KeptActivations:
    """Counts what autograd keeps for the backward pass: each piece of memory once, without parameters and buffers.

    What activation checkpointing computes again is not kept, and not counted.

    Args:
        model: whose parameters and buffers do not count.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = {_place(each) for each in (*model.parameters(), *model.buffers())}
        self._found: dict[Any, tuple[str, int]] = {}
        self._alive: list[Tensor] = []  # or another tensor might take the place of one that is gone
        self._parts = [""]

    def enter(self, part: str) -> None:
        """What is kept from now on is this part's."""
        self._parts.append(part)

    def leave(self, part: str) -> None:
        """The part that began last ends."""
        assert self._parts[-1] == part
        self._parts.pop()

    def count(self, forward: Callable[[], Any]) -> Kept:
        """Runs a forward pass and counts; its result is dropped."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            result = forward()
        del result
        by_part: dict[str, int] = {}
        for part, size in self._found.values():
            by_part[part] = by_part.get(part, 0) + size
        kept = Kept(by_part, len(self._found))
        self._found, self._alive = {}, []
        return kept

    def _keep(self, tensor: Tensor) -> Tensor:
        place = _place(tensor)
        if place not in self._own and place not in self._found:
            self._found[place] = (self._parts[-1], tensor.untyped_storage().nbytes())
            self._alive.append(tensor.detach())
        return tensor


def _place(tensor: Tensor) -> Any:
    return tensor.device, tensor.untyped_storage().data_ptr()


def count_activations(model: QueryDetector, height: int, width: int) -> dict[str, int]:
    """Elements that convolutions, linear layers and matrix products put out for one image, by part.

    As fvcore counts activations, in inference; from shapes alone, on a copy without contents.

    Args:
        model: a detector, on any device.
        height, width: of the image, in pixels.

    Raises:
        ValueError: height or width is not positive, or the image has fewer tokens than the model selects queries.
    """
    if height < 1 or width < 1:
        raise ValueError(f"the image must have a positive size, found height {height} and width {width}")
    shadow = copy.deepcopy(model).to("meta").eval()
    counter = _OutputCounter()
    with torch.device("meta"), torch.no_grad(), watch_parts(shadow, counter.enter, counter.leave), counter:
        padding = torch.empty(1, height, width, dtype=torch.bool)
        shadow.predict(shadow.backbone(torch.empty(1, 3, height, width)), padding)
    return counter.found


class _OutputCounter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, int] = {}
        self._parts = [""]

    def enter(self, part: str) -> None:
        self._parts.append(part)

    def leave(self, part: str) -> None:
        assert self._parts.pop() == part

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in _COUNTED:
            self.found[self._parts[-1]] = self.found.get(self._parts[-1], 0) + output.numel()
        return output
