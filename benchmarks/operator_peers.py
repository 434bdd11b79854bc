"""The implementations of deformable attention that `operator_gpu.py` compares: ours, and those that are installed.

Each is a function of one input set that returns the output and is differentiable for value, locations and weights.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from querydet.ops import fused_deformable_attention, multi_scale_deformable_attention
from querydet.ops.native import separate_operators

Shapes = Sequence[tuple[int, int]]


class Inputs(NamedTuple):
    """The inputs of a call: the operator's tensors, and those of the fused operator for the same result."""

    value: Tensor  # (B, S, M, D)
    locations: Tensor  # (B, Q, M, L, P, 2)
    weights: Tensor  # (B, Q, M, L, P)
    references: Tensor  # (B, Q, L, 2)
    offsets: Tensor  # (B, Q, M, L, P, 2) in pixels
    logits: Tensor  # (B, Q, M, L, P)
    gradient: Tensor  # (B, Q, M * D)


class Peer(NamedTuple):
    """An implementation: its function, version and types."""

    call: Callable[[Inputs, Shapes], Tensor]
    version: str
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)


def _ours(inputs: Inputs, shapes: Shapes) -> Tensor:
    return multi_scale_deformable_attention(inputs.value, shapes, inputs.locations, inputs.weights)


def _ours_fused(inputs: Inputs, shapes: Shapes) -> Tensor:
    return fused_deformable_attention(inputs.value, shapes, inputs.references, inputs.offsets, inputs.logits)


def _ours_unfused(inputs: Inputs, shapes: Shapes) -> Tensor:
    """Run the work of the fused operator in separate steps."""
    with separate_operators():
        return _ours_fused(inputs, shapes)


def _grid_sample(inputs: Inputs, shapes: Shapes) -> Tensor:
    """Run grid_sample for each level and a weighted sum, as the DETR family does where it has no kernel."""
    value = inputs.value.float()
    batch, _, heads, channels = value.shape
    queries = inputs.locations.shape[1]
    grids = 2 * inputs.locations - 1
    samples = []
    for level, plane in enumerate(value.split([height * width for height, width in shapes], 1)):
        plane = plane.flatten(2).transpose(1, 2).reshape(batch * heads, channels, *shapes[level])
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
        samples.append(F.grid_sample(plane, grid, align_corners=False))
    weights = inputs.weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    output = (torch.stack(samples, -2).flatten(-2) * weights).sum(-1)
    return output.view(batch, heads * channels, queries).transpose(1, 2).to(inputs.value.dtype)


def _level_tensors(shapes: Shapes, device: torch.device) -> tuple[Tensor, Tensor]:
    sizes = torch.tensor(list(shapes), dtype=torch.int64, device=device)
    return sizes, torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])


def _original() -> Peer:
    """Return torch-ms-deform-attn, the kernels of Deformable DETR; its API computes 16-bit values in float32."""
    module = import_module("torch_ms_deform_attn")

    def call(inputs: Inputs, shapes: Shapes) -> Tensor:
        dtype = inputs.value.dtype
        tensors = (tensor.to(dtype) for tensor in (inputs.locations, inputs.weights))
        return module.ms_deform_attn(inputs.value, *_level_tensors(shapes, inputs.value.device), *tensors)

    return Peer(call, version("torch-ms-deform-attn"))


def _deformops(backend: str) -> Peer:
    """Return deformops with one of its backends, "CUDA" or "TRITON"."""
    module = import_module("deformops.registry")
    chosen = getattr(module.Backend, backend)
    if module.msda.get(chosen) is None:
        raise ImportError(f"deformops has no {backend} backend here: {module.msda.unavailable_reason(chosen)}")

    def call(inputs: Inputs, shapes: Shapes) -> Tensor:
        levels = _level_tensors(shapes, inputs.value.device)
        output: Any = module.msda(inputs.value, *levels, inputs.locations, inputs.weights, backend=chosen)
        return output.flatten(2)

    return Peer(call, version("deformops"))


def find_peers() -> tuple[dict[str, Peer], dict[str, str]]:
    """Find the implementations that can be compared here.

    Returns:
        The implementations by name, and for each missing one the reason.
    """
    peers = {
        "ours": Peer(_ours, "this commit"),
        "ours_fused": Peer(_ours_fused, "this commit"),
        "ours_in_steps": Peer(_ours_unfused, "this commit"),
        "grid_sample": Peer(_grid_sample, f"torch {torch.__version__}"),
    }
    missing = {}
    others: dict[str, Callable[[], Peer]] = {
        "torch_ms_deform_attn": _original,
        "deformops_cuda": lambda: _deformops("CUDA"),
        "deformops_triton": lambda: _deformops("TRITON"),
    }
    for name, find in others.items():
        try:
            peers[name] = find()
        except (ImportError, OSError, RuntimeError, AttributeError, SyntaxError) as error:
            missing[name] = f"{type(error).__name__}: {error}"
    return peers, missing
