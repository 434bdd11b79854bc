"""Memory use of a detector: its peak, and the activations that a training step saves for the backward pass."""

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

from querydet.analysis.detection_masks import DetectionMasks
from querydet.analysis.part_hooks import watch_parts
from querydet.modeling.backbones import padded_size
from querydet.modeling.detector import QueryDetector

_aten = torch.ops.aten
# What fvcore's ActivationCountAnalysis counts the outputs of: convolutions and everything that is a matrix product.
_COUNTED = (_aten.convolution, _aten.addmm, _aten.mm, _aten.bmm, _aten.baddbmm)
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak that `peak_memory` reports; on a CPU only where the system allows it (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes since `reset_peak_memory`: allocated on a GPU, else resident in the process.

    Both include the weights; resident memory also includes the loaded libraries, several hundred MB.
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
    """Tensors that autograd saves for the backward pass."""

    bytes_by_part: dict[str, int]
    tensors: int  # number of distinct storages

    @property
    def bytes(self) -> int:
        """Sum the bytes over all parts."""
        return sum(self.bytes_by_part.values())


class KeptActivations:
    """Measures the activations that autograd saves for the backward pass.

    Each storage is counted once; parameters and buffers are left out. Activations that activation checkpointing
    recomputes are not saved, and not counted.

    Args:
        model: its parameters and buffers are left out.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = {_place(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._saved: dict[Any, tuple[str, int]] = {}
        self._alive: list[Tensor] = []  # keeps a freed storage's address from being reused
        self._parts = [""]

    def enter(self, part: str) -> None:
        """Attribute what is saved from now on to this part."""
        self._parts.append(part)

    def leave(self, part: str) -> None:
        """End the part that was entered last."""
        assert self._parts[-1] == part
        self._parts.pop()

    def count(self, forward: Callable[[], Any]) -> Kept:
        """Run a forward pass and count what it saves; its result is dropped."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            result = forward()
        del result
        by_part: dict[str, int] = {}
        for part, size in self._saved.values():
            by_part[part] = by_part.get(part, 0) + size
        kept = Kept(by_part, len(self._saved))
        self._saved, self._alive = {}, []
        return kept

    def _keep(self, tensor: Tensor) -> Tensor:
        place = _place(tensor)
        if place not in self._own and place not in self._saved:
            self._saved[place] = (self._parts[-1], tensor.untyped_storage().nbytes())
            self._alive.append(tensor.detach())
        return tensor


def _place(tensor: Tensor) -> Any:
    return tensor.device, tensor.untyped_storage().data_ptr()


def count_activations(model: QueryDetector, height: int, width: int) -> dict[str, int]:
    """Count the output elements of convolutions, linear layers and matrix products for one image, by part.

    This is fvcore's count of activations, in inference. It needs shapes only: a copy on the meta device is run.

    Args:
        model: a detector, on any device.
        height: of the image, in pixels; the size that it is padded to is counted.
        width: of the image, in pixels.

    Raises:
        ValueError: height or width is not positive or more than the backbone takes, or the image has fewer tokens than
            the model selects queries.
    """
    size = padded_size(model.backbone, height, width, model.size_divisibility)
    shadow = copy.deepcopy(model).to("meta").eval()
    masks, counter = DetectionMasks(shadow.postprocess), _OutputCounter()
    with torch.device("meta"), torch.no_grad(), watch_parts(shadow, counter.enter, counter.leave), counter:
        padding = torch.empty(1, *size, dtype=torch.bool)
        (last,) = shadow.predict(shadow.backbone(torch.empty(1, 3, *size)), padding)
        counter.enter("masks")
        masks(last)
        counter.leave("masks")
    return counter.elements


class _OutputCounter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.elements: dict[str, int] = {}
        self._parts = [""]

    def enter(self, part: str) -> None:
        self._parts.append(part)

    def leave(self, part: str) -> None:
        assert self._parts.pop() == part

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in _COUNTED:
            self.elements[self._parts[-1]] = self.elements.get(self._parts[-1], 0) + output.numel()
        return output
