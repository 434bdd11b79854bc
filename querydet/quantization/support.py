"""What 8-bit detectors need of the machine."""

import torch

OPERATORS = ("qlinear_pointwise", "qlinear_prepack", "qconv_pointwise", "qconv2d_pointwise", "qconv_prepack")


def missing_support() -> str:
    """Return why this machine cannot run 8-bit detectors; empty: it can."""
    if not torch.backends.mkldnn.is_available():
        return "this torch was built without oneDNN"
    missing = [name for name in OPERATORS if not hasattr(torch.ops.onednn, name)]
    if missing:
        return f"torch {torch.__version__} lacks the operators {', '.join(missing)} of oneDNN"
    if not torch.cpu._is_vnni_supported():
        return "this processor has no VNNI, without which sums of 8-bit products overflow"
    return ""


def check_support(what: str) -> None:
    """Refuse to make or run an 8-bit detector where that cannot work.

    Args:
        what: the file or the task, for the message.

    Raises:
        ValueError: naming the reason.
    """
    reason = missing_support()
    if reason:
        raise ValueError(f"{what}: detectors in 8 bit cannot run here: {reason}. Take the checkpoint in float32")


def float_type() -> torch.dtype:
    """Return the type of what is not in 8 bit: bfloat16 where the processor computes in it, else float32."""
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
