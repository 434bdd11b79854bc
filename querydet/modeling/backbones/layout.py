"""The memory layout of the images of a batch."""

import torch


def image_layout(device: torch.device) -> torch.memory_format:
    """Return channels last, the fastest layout for convolutions, but for float32 before a backward pass on a CPU.

    There, the backward pass of convolutions with few channels writes outside of its memory in that layout (torch 2.14,
    oneDNN, AVX2). In bfloat16 with AVX-512 torch itself converts every map to that layout, before and after each
    convolution, so that nothing is risked by it.
    """
    backward_on_cpu = device.type == "cpu" and torch.is_grad_enabled()
    return torch.contiguous_format if backward_on_cpu and not _converts_itself() else torch.channels_last


def _converts_itself() -> bool:
    in_bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return in_bfloat16 and torch.backends.cpu.get_cpu_capability() == "AVX512"
