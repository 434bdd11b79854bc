"""Weights of a detector that only its training uses.

A part declares them: its ``training_only`` names those of its children that inference never calls.
"""

from collections.abc import Mapping

from torch import Tensor, nn

INFERENCE_ONLY = "inference_only"  # marks a file without these weights


def training_only_keys(model: nn.Module) -> set[str]:
    """Return the names in the state dict that inference does not need."""
    prefixes = [
        ".".join(filter(None, (name, child))) + "."
        for name, module in model.named_modules()
        for child in getattr(module, "training_only", ())
    ]
    return {key for key in model.state_dict() if key.startswith(tuple(prefixes))}


def inference_state(model: nn.Module) -> dict[str, Tensor]:
    """Copy the state dict without those names to the CPU."""
    left_out = training_only_keys(model)
    state: Mapping[str, Tensor] = model.state_dict()
    return {key: value.detach().cpu().clone() for key, value in state.items() if key not in left_out}
