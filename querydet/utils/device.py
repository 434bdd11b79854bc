"""The device that a config names."""

import torch


def resolve_device(device: str) -> torch.device:
    """Turn ``train.device`` into a device; "auto" is this process's GPU when there is one.

    Raises:
        ValueError: a GPU is named and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"train.device={device}, but no GPU is visible (--num-gpus 0 hides them): use auto")
    return torch.device(device)
