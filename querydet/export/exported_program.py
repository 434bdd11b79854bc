"""Export of a detector as a program of `torch.export`, for batches and images of any size."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling import MViT, ViT
from torch.export import Dim, ExportedProgram

from querydet.export.graph import DetectionGraph, pad_images
from querydet.modeling.backbones import Adapter, padded_size, padding_rule
from querydet.modeling.detector import QueryDetector

# Image sides for tracing: unequal primes, so that no dimension is specialised to a constant.
_EXAMPLE_SIDES = (229, 283)


def min_side(detector: QueryDetector) -> int:
    """Return the smallest height and width of a batch, for which every level still has at least two rows and columns.

    Tensors of one row follow other rules of broadcasting, so that one traced program cannot represent both cases.
    """
    strides = [detector.backbone.output_shape()[name].stride for name in detector.neck.in_channels]
    coarsest = strides[-1] * 2 ** (detector.neck.num_levels - len(strides))
    return coarsest + 1


def export_program(
    detector: QueryDetector, keep_operators: Sequence[Any] = (), fixed_size: tuple[int, int] | None = None
) -> ExportedProgram:
    """Trace a detector's inference.

    Args:
        detector: a detector in any mode; it is not changed.
        keep_operators: see `graph.DetectionGraph`.
        fixed_size: (height, width) of all batches; None: any size.

    Returns:
        A program with the inputs and outputs of `graph.DetectionGraph`. It refuses heights and widths below `min_side`;
        pad smaller images.

    Raises:
        ValueError: the fixed size is below `min_side`, gives fewer tokens than there are queries, or is larger than
            the backbone takes; or the backbone can be traced for a fixed size only.
    """
    side, batch = min_side(detector), Dim("batch")
    if fixed_size is None:
        _check_any_size(detector)
    else:
        padded_size(detector.backbone, *fixed_size)
    if fixed_size is not None and min(fixed_size) < side:
        raise ValueError(f"the fixed size {fixed_size} is below {side}, the least height and width of this detector")
    largest = padding_rule(detector.backbone).square or None
    free = {} if fixed_size else {2: Dim("height", min=side, max=largest), 3: Dim("width", min=side, max=largest)}
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            return torch.export.export(
                DetectionGraph(detector, keep_operators).eval(),
                _example_inputs(detector, fixed_size),
                dynamic_shapes={"images": {0: batch, **free}, "sizes": {0: batch}},
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    finally:
        detector.train(training)


def _check_any_size(detector: QueryDetector) -> None:
    """Refuse at once what torch would refuse after minutes, in other words."""
    for module in detector.backbone.modules():
        name = f"Detectron2's {type(module).__name__}" if isinstance(module, ViT | MViT) else ""
        if isinstance(module, Adapter) and module.attends():
            name = f"{type(module).__name__} {module.name}"
        if name:
            raise ValueError(
                f"{name} decides by the size of its input how to lay out windows and "
                "tables of positions, so that it cannot be traced for all sizes: give fixed_size (--fixed-size HEIGHT "
                "WIDTH)"
            )


def _example_inputs(detector: QueryDetector, fixed_size: tuple[int, int] | None) -> tuple[torch.Tensor, ...]:
    """Make a batch of two images of unequal sizes that has enough tokens for the queries."""
    side = max(min_side(detector), _min_side_for_tokens(detector))
    largest = padding_rule(detector.backbone).square or math.inf
    height, width = fixed_size or (int(min(max(example, side + example % 16), largest)) for example in _EXAMPLE_SIDES)
    generator = torch.Generator().manual_seed(0)
    sizes = ((height, width - 31), (height - 17, width))
    images = [torch.randint(0, 256, (3, *size), generator=generator).float() for size in sizes]
    return tuple(tensor.to(detector.device) for tensor in pad_images(images))


def _min_side_for_tokens(detector: QueryDetector) -> int:
    """Return a side for which square images have more tokens than there are queries."""
    strides = [detector.backbone.output_shape()[name].stride for name in detector.neck.in_channels]
    return int(detector.selection.num_queries**0.5 + 3) * min(strides)
