"""Export of a detector as a file of OpenVINO, in float32, bfloat16 or with 8-bit products.

The file is made from the ONNX graph of `export.onnx`, and has its inputs and outputs. OpenVINO decides on a precision
when it loads a file, not when it writes one: on a processor with bfloat16 products it uses these by default. Each file
therefore says, as `querydet/inference_precision` of its runtime information, which `INFERENCE_PRECISION_HINT` it was
checked with. `OpenVinoModel` applies the hint; other programs have to pass it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# precision of a file: OpenVINO's name of that of what is not 8 bit
HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
HINT_PATH = ["querydet", "inference_precision"]

# Nodes that stay in float32 where products take 8 bits, by patterns of their names, with the reason.
FULL_PRECISION = {
    r".*\.sampling_offsets/.*": "a step of 8 bits is a part of a pixel, which moves every sample",
    r"decoder/.*": "heads of boxes: coordinates are refined from layer to layer, so that errors add up",
    r"heads(\..*)?/.*": "heads of classes and boxes: a score of 8 bits has few values",
    r"selection(\.proposals)?/.*": "heads of proposals: ranks of nearly equal scores decide what becomes a query",
}


def require_openvino(precision: str = "float32") -> None:
    """Check early that the packages for an export are installed.

    Raises:
        ModuleNotFoundError: openvino is not installed, or nncf for 8 bits.
    """
    for name in ("openvino", "nncf") if precision == "int8" else ("openvino",):
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"a file of OpenVINO in {precision} needs {name}: pip install 'querydet[openvino]', or pip install "
                "openvino nncf",
                name=name,
            ) from error


def export_openvino(
    onnx_path: str, path: str, precision: str = "float32", calibration: Sequence[tuple[Tensor, Tensor]] = ()
) -> None:
    """Write an exported ONNX graph as a file of OpenVINO.

    Args:
        onnx_path: a file of `export_onnx`.
        path: of the file, `model.xml`; weights are written beside it, as `model.bin`.
        precision: a key of `HINTS`.
        calibration: inputs of `export.graph`, from images like those that will be detected on; for int8 only.

    Raises:
        ModuleNotFoundError: openvino is not installed, or nncf for 8 bits.
        ValueError: the precision is unknown, or int8 has no calibration.
    """
    if precision not in HINTS:
        raise ValueError(f"the precision of a file of OpenVINO is one of {list(HINTS)}, not '{precision}'")
    if precision == "int8" and not calibration:
        raise ValueError("int8 takes the ranges of activations from images: give some of the data set")
    require_openvino(precision)
    import openvino

    model = openvino.Core().read_model(onnx_path)
    if precision == "int8":
        model = _quantize(model, calibration)
    model.set_rt_info(HINTS[precision], HINT_PATH)
    openvino.save_model(model, path, compress_to_fp16=False)


def _quantize(model: Any, calibration: Sequence[tuple[Tensor, Tensor]]) -> Any:
    """Return the model with products in 8 bits, whose ranges are those of the calibration."""
    import nncf

    inputs = [{"images": images.numpy(), "sizes": sizes.numpy()} for images, sizes in calibration]
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(patterns=list(FULL_PRECISION), validate=False),
    )


class OpenVinoModel:
    """Runs a file of `export_openvino` on the CPU; called like an exported program.

    Args:
        path: the file.
        threads: number of threads; 0: chosen by OpenVINO.
        static: compile for each new shape of the inputs, which takes seconds and makes each call faster; otherwise
            once for all shapes.

    Raises:
        ModuleNotFoundError: openvino is not installed.
    """

    def __init__(self, path: str, threads: int = 0, static: bool = False) -> None:
        require_openvino()
        import openvino

        self._core = openvino.Core()
        self._path, self._static = path, static
        model = self._core.read_model(path)
        hint = model.get_rt_info(HINT_PATH).value if model.has_rt_info(HINT_PATH) else "f32"
        self._options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """Detect; see `export.graph` for inputs and outputs."""
        request = self._request(tuple(images.shape))
        results = request.infer({"images": images.numpy(), "sizes": sizes.numpy()})
        return {output.get_any_name(): torch.from_numpy(value.copy()) for output, value in results.items()}

    def _request(self, shape: tuple[int, ...]) -> Any:
        """Return what runs images of a shape, compiled where that is new."""
        key = shape if self._static else ()
        if key not in self._compiled:
            model = self._core.read_model(self._path)
            if self._static:
                model.reshape({"images": list(shape), "sizes": [shape[0], 2]})
            self._compiled[key] = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        return self._compiled[key]
