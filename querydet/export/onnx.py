"""Export of a detector as an ONNX graph of standard operators, by PyTorch's exporter.

Deformable attention samples with ONNX's `GridSample` (`export.onnx_sampling`); suppression becomes
`NonMaxSuppression`, which works on batches and classes at once. The exporter translates everything else.
"""

import ast
from typing import Any

import torch
from torch import Tensor

from querydet.export.exported_program import export_program
from querydet.export.graph import INPUTS, output_names
from querydet.export.onnx_sampling import operators, translate_sampling
from querydet.export.onnx_simplifying import simplify
from querydet.modeling.detector import QueryDetector

OPSET = 20  # the first whose GridSample has the mode "linear"; all exporters of torch since 2.11 write it


def export_onnx(detector: QueryDetector, path: str, fixed_size: tuple[int, int] | None = None) -> None:
    """Write a detector's inference as an ONNX file, with the inputs and outputs of `export.graph`.

    Args:
        detector: a detector in any mode; it is not changed.
        path: of the file; weights of more than 2 GB, which the format cannot hold, are written beside it.
        fixed_size: (height, width) of all batches; None: any size.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    require_onnx()
    suppress, sampling = torch.ops.querydet.suppress, torch.ops.querydet.ms_deform_attn_fused
    exported = torch.onnx.export(
        export_program(detector, (suppress, sampling), fixed_size),
        dynamo=True,
        input_names=list(INPUTS),
        output_names=list(output_names(detector)),
        opset_version=OPSET,
        custom_translation_table={
            suppress.default: translate_suppress,
            sampling.default: translate_sampling,
            torch.ops.aten.sort.stable: translate_stable_sort,
        },
        optimize=False,
        verbose=False,
    )
    assert exported is not None
    simplify(exported.model)
    _name_after_modules(exported.model.graph)
    exported.save(path)


def _name_after_modules(graph: Any) -> None:
    """Let the name of every node begin with its module, `encoder.layers.0.attention.value_proj/`, for profiles."""
    for node in graph:
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        module = scopes[-2] if len(scopes) > 1 else ""  # the last one is the operator
        node.name = f"{module.removeprefix('detector.')}/{node.name}"


def require_onnx() -> None:
    """Check early that the packages for an export are installed.

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


def translate_suppress(boxes_xyxy: Any, scores: Any, iou_threshold: float) -> Any:
    """Translate `querydet::suppress` to ONNX: boxes (B, N, 4) and scores (B, G, N) to a mask (B, G, N)."""
    op = operators()
    everything = op.Shape(boxes_xyxy, start=1, end=2)
    threshold = op.Constant(value_floats=[iou_threshold])
    lowest = op.Constant(value_floats=[torch.finfo(torch.float32).min])  # only minus infinity is less
    kept = op.NonMaxSuppression(boxes_xyxy, scores, everything, threshold, lowest)  # (n, 3): image, group, box
    nothing = op.Expand(op.Constant(value_int=0), op.Shape(scores))
    ones = op.Expand(op.Constant(value_int=1), op.Shape(kept, start=0, end=1))
    return op.Cast(op.ScatterND(nothing, kept, ones), to=9)  # bool


def translate_stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """Translate `aten::sort.stable`, which the exporter lacks, to `TopK`, which prefers the first of equal values."""
    op = operators()
    size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
    return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)


class OnnxModel:
    """Runs an exported file with ONNX Runtime on the CPU; called like an exported program.

    Args:
        path: a file of `export_onnx`.
        threads: number of threads of one operator; 0: chosen by ONNX Runtime.

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
        """Detect; see `export.graph` for inputs and outputs."""
        names = [output.name for output in self._session.get_outputs()]
        values = self._session.run(names, {"images": images.numpy(), "sizes": sizes.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}
