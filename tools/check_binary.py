"""Load a compiled extension under any torch, without querydet and Detectron2, and check its results.

    python tools/check_binary.py querydet/_C.abi3.so

One binary is meant for many versions of Python and torch. This needs nothing but torch, and prints the pair it ran on.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ((12, 17), (6, 9), (3, 5))


def load(name: str, path: Path) -> ModuleType:
    """Import one file, Python or compiled, as a module of its own.

    Raises:
        ImportError: Python cannot import such a file.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is neither a Python file nor an extension module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def distance(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, relative to the largest entry."""
    return ((found.double() - wanted).abs().max() / wanted.abs().max()).item()


def check(definition: ModuleType, dtype: torch.dtype, device: str) -> float:
    """Return the largest distance of outputs and gradients of both operators from their definition in float64."""
    import torch  # here and below, so that --help does not load it

    generator = torch.Generator().manual_seed(0)
    value = torch.randn(2, 273, 4, 32, generator=generator).to(dtype)
    reference = torch.rand(2, 60, 3, 4, generator=generator) * 0.5 + 0.25
    offsets = torch.randn(2, 60, 4, 3, 4, 2, generator=generator)
    logits = torch.randn(2, 60, 4, 3, 4, generator=generator)
    grad = torch.randn(2, 60, 128, generator=generator).to(dtype)
    exact = [tensor.double() for tensor in (value, reference, offsets, logits)]
    flat = [size for shape in SHAPES for size in shape]
    tensors = [tensor.to(device) for tensor in (value, reference, offsets, logits)]
    ops = torch.ops.querydet
    found = [ops.ms_deform_attn_fused(tensors[0], flat, *tensors[1:])]
    found += ops.ms_deform_attn_fused_backward(tensors[0], flat, *tensors[1:], grad.to(device), True, [True] * 4)
    wanted = [definition.ms_deform_attn_fused_reference(exact[0], SHAPES, *exact[1:])]
    wanted += definition.ms_deform_attn_fused_reference_backward(exact[0], SHAPES, *exact[1:], grad.double())
    locations, weights = definition.locate_samples(exact[1], exact[2], SHAPES), definition.normalize_logits(exact[3])
    located = [tensors[0], locations.float().to(device), weights.float().to(device)]
    found += [ops.ms_deform_attn(located[0], flat, *located[1:])]
    found += ops.ms_deform_attn_backward(located[0], flat, *located[1:], grad.to(device), True, [True] * 3)
    wanted += [definition.ms_deform_attn_reference(exact[0], SHAPES, locations, weights)]
    wanted += definition.ms_deform_attn_reference_backward(exact[0], SHAPES, locations, weights, grad.double())
    return max(distance(one.cpu(), other) for one, other in zip(found, wanted, strict=True))


def main() -> None:
    """Command line; exits with 1 when a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    import torch

    load("_C", options.binary)  # registers the operators
    definition = load("definition", ROOT / "querydet" / "ops" / "reference.py")
    right = True
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)):
        found = check(definition, dtype, options.device)
        right &= found <= tolerance
        print(f"{dtype}: {found:.1e} from the definition, {'right' if found <= tolerance else 'WRONG'}")
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, {options.device}, "
        f"{torch.ops.querydet.cpu_instruction_set()}"
    )
    sys.exit(not right)


if __name__ == "__main__":
    main()
