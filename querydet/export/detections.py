"""Postprocessing with results of fixed shapes, as runtimes without Python need them."""

from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess, suppress_pairs


class FixedDetections(NamedTuple):
    """The detections of a batch, best first; an image with fewer than N is padded with score 0 and label -1."""

    boxes: Tensor  # (B, N, 4) as (x0, y0, x1, y1), normalised
    scores: Tensor  # (B, N)
    labels: Tensor  # (B, N) int64
    queries: Tensor  # (B, N) int64, the query that made each detection


@singledispatch
def fixed_size_detections(postprocess: object, logits: Tensor, boxes: Tensor) -> FixedDetections:
    """Apply a postprocess of `modeling.postprocess` with results of fixed shapes.

    For a postprocess of your own, register a function: `@fixed_size_detections.register`.

    Args:
        postprocess: selects the function by its type, and is its configuration.
        logits: (B, Q, K).
        boxes: (B, Q, 4), normalised cxcywh.

    Raises:
        TypeError: no function is registered for this type.
    """
    raise TypeError(
        f"{type(postprocess).__name__} has no form with results of a fixed size, which an export needs: register one "
        "with querydet.export.detections.fixed_size_detections.register"
    )


@fixed_size_detections.register
def _(postprocess: TopKPostprocess, logits: Tensor, boxes: Tensor) -> FixedDetections:
    return _finish(*postprocess.select(logits, boxes), clip=postprocess.clip)


@fixed_size_detections.register
def _(postprocess: NMSPostprocess, logits: Tensor, boxes: Tensor) -> FixedDetections:
    queries, classes = logits.shape[1:]
    boxes_xyxy = cxcywh_to_xyxy(boxes)
    scores = suppress_pairs(logits, boxes_xyxy, postprocess.max_candidates, postprocess.iou_threshold)
    count = min(postprocess.num_detections, postprocess.max_candidates, queries * classes)
    kept, index = scores.topk(count, dim=1)
    chosen = index // classes
    kept_boxes = boxes_xyxy.gather(1, chosen[..., None].expand(-1, -1, 4))
    return _finish(kept, kept_boxes, index % classes, chosen, clip=postprocess.clip)


def _finish(scores: Tensor, boxes: Tensor, labels: Tensor, queries: Tensor, *, clip: bool) -> FixedDetections:
    """Clip boxes, and move invalid detections (no area, or suppressed) to the end."""
    valid = scores > -torch.inf
    if clip:
        boxes = boxes.clamp(0, 1)
        valid = valid & (boxes[..., 2:] > boxes[..., :2]).all(-1)
    # float: not every runtime sorts integers; stable: the order by score stays
    order = valid.float().argsort(dim=1, descending=True, stable=True)
    boxes = boxes.masked_fill(~valid[..., None], 0).gather(1, order[..., None].expand(-1, -1, 4))
    scores = scores.masked_fill(~valid, 0).gather(1, order)
    labels = labels.masked_fill(~valid, -1).gather(1, order)
    return FixedDetections(boxes, scores, labels, queries.gather(1, order))
