"""The CUDA kernels, compiled for the CPU on top of ``cuda_on_cpu.h``, as functions of tensors."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import torch
from torch import Tensor

COMPILER = shutil.which(os.environ.get("CXX", "c++"))
_TYPES = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "c10::BFloat16", torch.float16: "c10::Half"}
_POINTERS = [
    "levels",
    "value",
    "grad_output",
    "references",
    "points",
    "weights",
    "output",
    "grad_value",
    "sum_value",
    "grad_references",
    "grad_points",
    "grad_weights",
    "softmax",
    "positions",
]


def compile_kernels(source: str, folder: Path, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compiles a file of this folder to a library.

    Args:
        source: its name.
        folder: where the library is put.
        flags: more flags for the compiler; each combination has a library of its own.

    Raises:
        RuntimeError: the kernels do not compile; the compiler's words are the message.
    """
    from torch.utils.cpp_extension import include_paths

    target = folder / re.sub(r"\W+", "_", "_".join((Path(source).stem, *flags, "so")))
    command = [str(COMPILER), "-std=c++17", "-O1", "-shared", "-fPIC", *flags]
    command += [part for path in include_paths() for part in ("-isystem", path)]
    command += [str(Path(__file__).parent / source), "-o", str(target)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if completed.returncode:
        raise RuntimeError(completed.stderr)
    return ctypes.CDLL(str(target))


class _Call(ctypes.Structure):
    """``struct Call`` of ``cuda_on_cpu.cpp``."""

    _fields_ = [
        ("sizes", ctypes.c_int64 * 7),
        *((name, ctypes.c_int64) for name in ("tiled", "sorted", "boxes", "narrow", "planes_of_pass")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    ]


class EmulatedKernels:
    """The kernels for one type of value."""

    def __init__(self, folder: Path, dtype: torch.dtype, flags: tuple[str, ...] = ()) -> None:
        """Compiles them.

        Args:
            folder: where the library is put.
            dtype: of value and output.
            flags: more flags for the compiler.

        Raises:
            RuntimeError: the kernels do not compile; the compiler's words are the message.
        """
        self.dtype = dtype
        self.sums = torch.promote_types(dtype, torch.float32)
        self._library = compile_kernels("cuda_on_cpu.cpp", folder, (*flags, f"-DVALUE={_TYPES[dtype]}"))

    def run(
        self,
        value: Tensor,
        shapes,
        points: Tensor,
        weights: Tensor,
        grad_output: Tensor,
        references: Tensor | None = None,
        wide: bool = True,
        sort: bool = False,
        tiled: bool = False,
        planes_of_pass: int = 1 << 20,
        sum_value: Tensor | None = None,
    ) -> list[Tensor]:
        """Output and gradients: value, references (of the fused operator only), points, weights.

        Args:
            value: (B, S, M, D).
            shapes: (H, W) of each level.
            points: locations, or the fused operator's offsets (with ``references``).
            weights: attention weights, or logits.
            grad_output: (B, Q, M * D).
            references: (B, Q, L, 2 or 4), makes it the fused operator.
            wide: whether threads move 16 bytes at once, where the kernels can.
            sort: whether the value's gradient is sorted instead of added by atomics.
            tiled: whether queries are taken in tiles; they must be as many as pixels.
            planes_of_pass: images times heads that are launched together.
            sum_value: zeros like value in the type of sums, where atomics add; made here by default.
        """
        batch, pixels, heads, channels = value.shape
        queries, levels, count = (points.shape[axis] for axis in (1, 3, 4))
        narrow = weights.dtype == self.dtype and self.dtype != self.sums
        # NaN where kernels must write, zeros where they add.
        results = {
            "output": torch.full_like(grad_output, torch.nan),
            "grad_points": torch.full_like(points, torch.nan),
            "grad_weights": torch.full_like(weights, torch.nan),
            "softmax": torch.full(weights.shape, torch.nan, dtype=self.sums),
            "positions": torch.full(points.shape, torch.nan, dtype=self.sums),
        }
        if sort:
            results["grad_value"] = torch.full_like(value, torch.nan)
        else:
            results["sum_value"] = torch.zeros(value.shape, dtype=self.sums) if sum_value is None else sum_value
        if references is not None:
            results["grad_references"] = torch.full_like(references, torch.nan)
        inputs = {"value": value, "points": points, "weights": weights, "grad_output": grad_output}
        if references is not None:
            inputs["references"] = references
        tensors = {**{name: tensor.contiguous() for name, tensor in inputs.items()}, **results}
        tensors["levels"] = torch.tensor(shapes, dtype=torch.int64)
        call = _Call(
            (ctypes.c_int64 * 7)(batch, pixels, heads, channels, queries, count, levels),
            *(int(tiled), int(sort), int(references is not None and references.shape[-1] == 4), int(narrow)),
            planes_of_pass,
            **{name: tensor.data_ptr() for name, tensor in tensors.items()},
        )
        function = self._library.run_given if references is None else self._library.run_fused
        function(ctypes.byref(call), ctypes.c_int64(int(wide)))
        grad_value = results["grad_value" if sort else "sum_value"]
        grads = [] if references is None else [results["grad_references"]]
        return [results["output"], grad_value, *grads, results["grad_points"], results["grad_weights"]]


class EmulatedSuppression:
    """The kernel of suppression."""

    def __init__(self, folder: Path, flags: tuple[str, ...] = ()) -> None:
        """Compiles it; arguments and errors are those of :func:`compile_kernels`."""
        self._library = compile_kernels("suppression_on_cpu.cpp", folder, flags)

    def run(self, boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
        """What ``querydet::suppress`` computes for float32 or float64."""
        boxes = boxes_xyxy.contiguous()
        batch, groups, count = scores.shape
        ordered, order = scores.contiguous().sort(stable=True, descending=True)
        kept = torch.zeros(scores.shape, dtype=torch.bool)
        functions = {torch.float32: self._library.suppress_float, torch.float64: self._library.suppress_double}
        sizes = [ctypes.c_int64(size) for size in (batch, groups, count)]
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (boxes, ordered, order, kept)]
        functions[boxes.dtype](*sizes, ctypes.c_double(iou_threshold), *pointers)
        return kept
