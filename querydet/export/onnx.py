"""A detector as an ONNX graph of standard operators, made by PyTorch's exporter.

Deformable attention becomes its definition, whose sampling is ONNX's ``GridSample``; suppression becomes
``NonMaxSuppression``, which works on batches and classes at once. Everything else is the exporter's work.
"""

from typing import Any

import torch
from torch import Tensor

from querydet.export.exported_program import export_program
from querydet.export.graph import INPUTS, OUTPUTS
from querydet.modeling.detector import QueryDetector

OPSET = 20  # the first whose GridSample says "linear", and which all exporters of torch since 2.11 write


def export_onnx(detector: QueryDetector, path: str, fixed_size: tuple[int, int] | None = None) -> None:
    """Write a detector's inference as an ONNX file, with the inputs and outputs of :mod:`querydet.export.graph`.

    Args:
        detector: it is left as it is.
        path: the file; weights of more than 2 GB, which the format cannot hold, go beside it.
        fixed_size: height and width that all batches will have; None: any.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    require_onnx()
    suppress = torch.ops.querydet.suppress
    exported = torch.onnx.export(
        export_program(detector, (suppress,), fixed_size),
        dynamo=True,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        custom_translation_table={
            suppress.default: translate_suppress,
            torch.ops.aten.sort.stable: translate_stable_sort,
        },
        verbose=False,
    )
    assert exported is not None
    exported.save(path)


def require_onnx() -> None:
    """Refuse to begin what could not be finished.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    for name in ("onnx", "onnxscript"):
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"an ONNX graph needs {name}: pip install 'querydet[onnx]', or pip install onnx onnxscript onnxruntime",
                name=name,
            ) from error


def _operators() -> Any:
    """ONNX's operators as functions. Imported here: onnxscript is not needed for anything else."""
    import onnxscript

    return onnxscript.opset20


def translate_suppress(boxes_xyxy: Any, scores: Any, iou_threshold: float) -> Any:
    """``querydet::suppress`` in ONNX: boxes (B, N, 4) and scores (B, G, N) to a mask (B, G, N)."""
    op = _operators()
    everything = op.Shape(boxes_xyxy, start=1, end=2)
    threshold = op.Constant(value_floats=[iou_threshold])
    lowest = op.Constant(value_floats=[torch.finfo(torch.float32).min])  # only minus infinity is less
    kept = op.NonMaxSuppression(boxes_xyxy, scores, everything, threshold, lowest)  # (n, 3): image, group, box
    nothing = op.Expand(op.Constant(value_int=0), op.Shape(scores))
    ones = op.Expand(op.Constant(value_int=1), op.Shape(kept, start=0, end=1))
    return op.Cast(op.ScatterND(nothing, kept, ones), to=9)  # bool


def translate_stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """``aten::sort.stable``, which the exporter does not know: ONNX's TopK prefers the first of equal values."""
    op = _operators()
    size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
    return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)


class OnnxModel:
    """Runs an exported file by ONNX Runtime on the CPU: the same call as an exported program's.

    Args:
        path: a file of :func:`export_onnx`.
        threads: for one operator; 0: as ONNX Runtime decides.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(self, path: str, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "running an ONNX file needs onnxruntime: pip install onnxruntime", name="onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """Inputs and outputs are those of :mod:`querydet.export.graph`."""
        values = self._session.run(list(OUTPUTS), {"images": images.numpy(), "sizes": sizes.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(OUTPUTS, values, strict=True)}
