"""Detections from the predictions of the last decoder layer."""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.ops.suppression import suppress


class TopKPostprocess:
    """Detects the (query, class) pairs with the highest scores, without suppression or threshold.

    One query may give several detections of different classes.

    Args:
        num_detections: number of detections per image; 300 in DINO, 100 in Deformable DETR.
        clip: whether to clip boxes to the image and drop those of no area, as Detectron2 does; the released codes do
            neither.
    """

    score_function = "sigmoid"

    def __init__(self, *, num_detections: int = 300, clip: bool = True) -> None:
        self.num_detections = num_detections
        self.clip = clip

    def __call__(self, logits: Tensor, boxes: Tensor, sizes: list[tuple[int, int]]) -> list[Instances]:
        """Return the detections of each image.

        Args:
            logits: (B, Q, K).
            boxes: (B, Q, 4), normalised.
            sizes: (height, width) of each image in pixels, in which the detections are returned.

        Returns:
            Per image `pred_boxes` (XYXY, pixels), `scores`, `pred_classes` and `query_indices`, by falling score.
        """
        scores, boxes_xyxy, classes, queries = self.select(logits, boxes)
        images = zip(boxes_xyxy, scores, classes, queries, sizes, strict=True)
        return [make_instances(*image, clip=self.clip) for image in images]

    def select(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Select n detections of each image, before they are clipped.

        Args:
            logits: (B, Q, K).
            boxes: (B, Q, 4), normalised.

        Returns:
            Falling scores (B, n), boxes (B, n, 4) as XYXY, classes (B, n) and queries (B, n).
        """
        return best_pairs(logits.sigmoid(), boxes, self.num_detections)


class NMSPostprocess:
    """Detects the (query, class) pairs with the highest scores that remain after suppression within each class.

    For a model that assigns several queries to an object (DETA, arXiv 2212.06137). There is no threshold on the score.

    Args:
        num_detections: largest number of detections per image; 100 in the released code, 300 in some rows of the paper.
        iou_threshold: IoU with a better detection of its class above which a detection is dropped.
        max_candidates: largest number of pairs of an image that enter the suppression, the best ones.
        clip: see `TopKPostprocess`; suppression compares the boxes before they are clipped.
        on_one_to_one: whether it is meant for queries that are trained one to one, as in the released code of DAC-DETR,
            whose second stream draws several queries to each object; otherwise a warning says what that may cost.

    Raises:
        ValueError: for a threshold outside [0, 1].
    """

    score_function = "sigmoid"
    suppresses = True

    def __init__(
        self,
        *,
        num_detections: int = 100,
        iou_threshold: float = 0.7,
        max_candidates: int = 10000,
        clip: bool = True,
        on_one_to_one: bool = False,
    ) -> None:
        if not 0 <= iou_threshold <= 1:
            raise ValueError(f"iou_threshold must be in [0, 1], found {iou_threshold}")
        self.num_detections = num_detections
        self.iou_threshold = iou_threshold
        self.max_candidates = max_candidates
        self.clip = clip
        self.suppresses_one_to_one = on_one_to_one

    def __call__(self, logits: Tensor, boxes: Tensor, sizes: list[tuple[int, int]]) -> list[Instances]:
        """Return the detections of each image; arguments and result are those of `TopKPostprocess`."""
        boxes_xyxy = cxcywh_to_xyxy(boxes)
        # in double precision, so that rounding does not decide about boxes near the threshold
        scores = suppress_pairs(logits, boxes_xyxy.double(), self.max_candidates, self.iou_threshold)
        scores, index = scores.topk(min(self.num_detections, scores.shape[1]), dim=1)
        num_classes, detections = logits.shape[-1], []
        for image_boxes, image_scores, pairs, size in zip(boxes_xyxy, scores, index, sizes, strict=True):
            kept = image_scores > -torch.inf
            pairs = pairs[kept]
            queries, classes = pairs // num_classes, pairs % num_classes
            instances = make_instances(image_boxes[queries], image_scores[kept], classes, queries, size, clip=self.clip)
            detections.append(instances)
        return detections


def suppress_pairs(logits: Tensor, boxes_xyxy: Tensor, max_candidates: int, iou_threshold: float) -> Tensor:
    """Score (query, class) pairs and suppress those that overlap a better one of their class.

    Args:
        logits: (B, Q, K).
        boxes_xyxy: (B, Q, 4).
        max_candidates: largest number of pairs of an image that enter the suppression, the best ones.
        iou_threshold: IoU with a better pair of its class above which a pair is dropped.

    Returns:
        Scores (B, Q * K), minus infinity for pairs that are dropped or do not enter the suppression.
    """
    queries, classes = logits.shape[1:]
    scores = logits.sigmoid().flatten(1)
    best = scores.topk(min(max_candidates, queries * classes), dim=1)
    candidates = torch.full_like(scores, -torch.inf).scatter(1, best.indices, best.values)
    by_class = candidates.unflatten(1, (queries, classes)).transpose(1, 2)  # (B, K, Q)
    kept = suppress(boxes_xyxy, by_class, iou_threshold).transpose(1, 2).flatten(1)
    return scores.masked_fill(~kept, -torch.inf)


def best_pairs(scores: Tensor, boxes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the (query, class) pairs with the highest scores.

    Args:
        scores: (B, Q, K).
        boxes: (B, Q, 4).
        count: largest number of pairs.

    Returns:
        Falling scores (B, n), boxes (B, n, 4) as XYXY, classes (B, n) and queries (B, n), with n = min(count, Q * K).
    """
    num_classes = scores.shape[-1]
    scores = scores.flatten(1)
    scores, index = scores.topk(min(count, scores.shape[1]), dim=1)
    queries = index // num_classes
    boxes_xyxy = cxcywh_to_xyxy(boxes).gather(1, queries[..., None].expand(-1, -1, 4))
    return scores, boxes_xyxy, index % num_classes, queries


def make_instances(
    boxes_xyxy: Tensor, scores: Tensor, classes: Tensor, queries: Tensor, size: tuple[int, int], *, clip: bool
) -> Instances:
    """Make the n detections of an image, in pixels.

    Args:
        boxes_xyxy: (n, 4), normalised.
        scores: (n,).
        classes: (n,).
        queries: (n,) int64, the query that made each detection.
        size: (height, width) of the image in pixels.
        clip: whether to clip boxes to the image and drop those of no area.
    """
    height, width = size
    scale = torch.tensor([width, height, width, height], dtype=boxes_xyxy.dtype, device=boxes_xyxy.device)
    instances = Instances(size, pred_boxes=Boxes(boxes_xyxy * scale), scores=scores, pred_classes=classes)
    instances.query_indices = queries
    if clip:
        instances.pred_boxes.clip(size)
        instances = instances[instances.pred_boxes.nonempty()]
    return instances
