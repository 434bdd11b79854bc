"""Copies between host and device that make the host wait for the device as rarely as possible."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT = 8  # bytes of the widest dtype that is copied


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors of any dtypes to the host in one transfer: the host waits for the device once, or not at all.

    Args:
        tensors: on one device.

    Returns:
        The tensors on the CPU, detached, with their shapes and dtypes.
    """
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return [tensor.detach() for tensor in tensors]
    pieces = [_as_bytes(tensor) for tensor in tensors]
    packed = torch.cat(pieces)
    if packed.device.type == "cuda":  # pinned memory is several times faster
        host = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=True).copy_(packed, non_blocking=True)
        torch.cuda.current_stream(packed.device).synchronize()
    else:
        host = packed.cpu()
    return [
        piece[: tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
        for piece, tensor in zip(host.split([len(piece) for piece in pieces]), tensors, strict=True)
    ]


def _as_bytes(tensor: Tensor) -> Tensor:
    """View a tensor as bytes (n,) uint8, padded so that the next tensor is aligned for any dtype."""
    data = tensor.detach().contiguous().view(-1).view(torch.uint8)
    rest = -len(data) % ALIGNMENT
    return torch.cat([data, data.new_zeros(rest)]) if rest else data


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to a device without waiting for work that is queued there."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
