"""The form of a detector for inference on a CPU: the same numbers in fewer passes through memory.

`fuse` copies a detector and exchanges its modules, type by type, for forms whose weights are laid out once for oneDNN
and whose ReLU, bias, residual sum and frozen norm are a part of the product before them. The detector itself stays as
it is, and readable.
"""

from querydet.fusion.detector import can_fuse, fuse, is_fused
from querydet.fusion.exchange import Exchange, exchange_modules
from querydet.fusion.layers import Grid, Layers, PackedConv2d, PackedLayers, PackedLinear
from querydet.fusion.precision import InferenceForm, choose_dtype, inference_form

__all__ = [
    "Exchange",
    "Grid",
    "InferenceForm",
    "Layers",
    "PackedConv2d",
    "PackedLayers",
    "PackedLinear",
    "can_fuse",
    "choose_dtype",
    "exchange_modules",
    "fuse",
    "inference_form",
    "is_fused",
]
