"""What the named meta-architectures have in common: each is the detector, and refuses to be built without its ideas."""

from collections.abc import Mapping

from torch import nn


def require_parts(detector: nn.Module, parts: Mapping[str, bool]) -> None:
    """Refuse a detector that lacks what its name stands for.

    Args:
        detector: a named meta-architecture.
        parts: what makes it up, with the place in the config, and whether it is there.

    Raises:
        ValueError: naming all that is missing.
    """
    missing = [part for part, there in parts.items() if not there]
    if missing:
        raise ValueError(
            f"{type(detector).__name__} lacks {', '.join(missing)}; use QueryDetector for other combinations of parts"
        )
