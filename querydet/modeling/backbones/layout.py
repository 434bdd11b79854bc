"""The memory layout of the images of a batch."""

import torch


def image_layout(device: torch.device) -> torch.memory_format:
    """Return channels last, the fastest layout for convolutions, unless a backward pass on a CPU follows.

    There, the backward pass of convolutions with few channels writes outside of its memory in that layout (torch 2.14,
    oneDNN, AVX2).
    """
    backward_on_cpu = device.type == "cpu" and torch.is_grad_enabled()
    return torch.contiguous_format if backward_on_cpu else torch.channels_last
