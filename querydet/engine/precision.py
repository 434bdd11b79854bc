"""Mixed precision: the 16-bit type of the config."""

import torch
from omegaconf import DictConfig


def amp_dtype(amp: DictConfig, device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type to compute in; None for single precision.

    Raises:
        ValueError: neither bfloat16 nor float16, or float16 without a GPU.
    """
    if not amp.enabled:
        return None
    dtypes = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    if amp.dtype not in dtypes:
        raise ValueError(f"train.amp.dtype has to be one of {', '.join(dtypes)}, got {amp.dtype!r}")
    if amp.dtype == "float16" and device.type != "cuda":
        raise ValueError("train.amp.dtype=float16 needs a GPU: use train.amp.dtype=bfloat16")
    return dtypes[amp.dtype]
