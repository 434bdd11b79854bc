"""Detectors in 8 bit for a CPU, made from trained ones without training.

`observe` copies a detector with layers that watch their inputs, `calibrate` shows it images, `make_codes` turns weights
and ranges into 8-bit codes, and `convert` builds the layers that compute with them. `save_quantized` and
`load_detector` write and read a file. The layers are those of the fused detector (`querydet.fusion`).
"""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
    from querydet.quantization.defaults import FLOAT
    from querydet.quantization.detector import calibrate, convert, is_in_8_bit, make_codes, observe, observed_layers
    from querydet.quantization.file import load_detector, load_quantized, save_quantized
    from querydet.quantization.layers import LayerCodes
    from querydet.quantization.observed import OBSERVERS
    from querydet.quantization.support import check_support, float_type, missing_support

__all__ = [
    "FLOAT",
    "OBSERVERS",
    "LayerCodes",
    "calibrate",
    "check_support",
    "convert",
    "float_type",
    "is_in_8_bit",
    "load_detector",
    "load_quantized",
    "make_codes",
    "missing_support",
    "observe",
    "observed_layers",
    "save_quantized",
]

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.quantization.defaults": "FLOAT",
            "querydet.quantization.detector": "calibrate convert is_in_8_bit make_codes observe observed_layers",
            "querydet.quantization.file": "load_detector load_quantized save_quantized",
            "querydet.quantization.layers": "LayerCodes",
            "querydet.quantization.observed": "OBSERVERS",
            "querydet.quantization.support": "check_support float_type missing_support",
        },
    )
