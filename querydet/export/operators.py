"""Tracing without this project's own operators: each is replaced by its definition.

An exported program that contains `querydet::...` operators runs only where this package is installed. The definitions
consist of operators of PyTorch and torchvision, which other runtimes know.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torchvision.ops import nms

from querydet.ops import fused, ms_deform_attn


def define_suppress(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Compute `querydet::suppress` by one call; boxes are shifted so that images and groups do not overlap.

    Computed in double precision, so that the shift does not change the IoU.
    """
    groups = scores.shape[1]
    image, group, row = (scores > -torch.inf).nonzero(as_tuple=True)
    boxes = boxes_xyxy.double()
    reach = boxes.amax() - boxes.amin() + 1
    shifted = boxes[image, row] + ((image * groups + group) * reach)[:, None]
    kept = nms(shifted, scores[image, group, row].double(), iou_threshold)
    ones = torch.ones_like(kept, dtype=torch.int32)
    return torch.zeros_like(scores, dtype=torch.int32).index_put((image[kept], group[kept], row[kept]), ones).bool()


DEFINITIONS: Mapping[Any, Callable[..., Any]] = {
    torch.ops.querydet.ms_deform_attn: ms_deform_attn.OPERATOR.define,
    torch.ops.querydet.ms_deform_attn_fused: fused.OPERATOR.define,
    torch.ops.querydet.suppress: define_suppress,
}


class PortableOperators(TorchFunctionMode):
    """A context in which operators of this project are computed by their definitions.

    Args:
        keep: operators that are not replaced, such as `torch.ops.querydet.suppress`.
    """

    def __init__(self, keep: Sequence[Any] = ()) -> None:
        super().__init__()
        self.definitions = {operator: define for operator, define in DEFINITIONS.items() if operator not in keep}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the definition of an operator that has one, and any other function unchanged."""
        packet = getattr(func, "overloadpacket", func)
        definition = self.definitions.get(packet) if callable(packet) else None
        return (definition or func)(*args, **(kwargs or {}))
