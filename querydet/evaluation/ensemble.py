"""Merging of the detections of several views of one image: one to one as DINO does, or by suppression.

All detections are in pixels of the same image; those of the main view come first. Masks are not merged, but refused.
"""

from collections.abc import Sequence

import torch
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference_single_image
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from querydet.evaluation.labelling import check_fraction
from querydet.traits import trait
from querydet.utils.instance_masks import has_masks


class OneToOneEnsemble:
    """DINO's ensembling (arXiv 2203.03605, appendix A, equation 3): the main view's detections, with averaged boxes.

    In every other view i, a detection j of the main view has one partner: the detection of the same class with the
    highest IoU. It contributes (I^i = 1) if the IoU is above the threshold; I^0 = 1. With weights w, scores s and boxes
    b, the new box of j is

        normalised:    sum_i I^i w^i s^i b^i / sum_i I^i w^i s^i
        literal:       sum_i I^i w^i s^i b^i / sum_i I^i

    The literal equation 3 shrinks boxes towards the corner of the image unless the w^i s^i are about 1; it is available
    for comparison. Details that the paper leaves open: j keeps its class and its score, partners have the same class (a
    query may have detections of several), one detection may be the partner of several j, and of partners with equal IoU
    the first one is used. No detection is added and none is dropped, which makes the ensembling one to one.

    Args:
        iou_threshold: smallest IoU of a contributing partner; ours, the paper does not specify it.
        weights: of the views, the main one first; None: 1 for each.
        normalised: use the normalised form instead of the literal one.

    Raises:
        ValueError: the threshold is outside of [0, 1], or a weight is not positive.
    """

    def __init__(
        self, *, iou_threshold: float = 0.7, weights: Sequence[float] | None = None, normalised: bool = True
    ) -> None:
        self.iou_threshold = check_fraction("iou_threshold", iou_threshold)
        self.weights = None if weights is None else [float(weight) for weight in weights]
        if self.weights is not None and not all(weight > 0 for weight in self.weights):
            raise ValueError(f"weights must be positive, got {self.weights}")
        self.normalised = normalised

    def __call__(self, views: Sequence[Instances]) -> Instances:
        """Merge the detections of all views.

        Args:
            views: for each view `pred_boxes` (XYXY, pixels of the image), `scores` and `pred_classes`.

        Raises:
            ValueError: there are no views, or not as many as weights, or detections have masks.
        """
        check_views(views)
        weights = [1.0] * len(views) if self.weights is None else self.weights
        if len(weights) != len(views):
            raise ValueError(
                f"there are {len(views)} views and {len(weights)} weights: give one for each, the main first"
            )
        main, *others = views
        factor = weights[0] * main.scores[:, None].double()
        total = factor * main.pred_boxes.tensor.double()
        partners = torch.ones_like(factor)
        for view, weight in zip(others, weights[1:], strict=True):
            contributes, boxes, scores = self._partners(main, view)
            partner_factor = contributes * weight * scores
            total = total + partner_factor * boxes
            factor = factor + partner_factor
            partners = partners + contributes
        boxes = total / (factor.clamp(min=torch.finfo(torch.float64).tiny) if self.normalised else partners)
        if self.normalised:  # if all scores are 0, there is no weighted mean
            boxes = torch.where(factor > 0, boxes, main.pred_boxes.tensor.double())
        result = Instances(main.image_size, **main.get_fields())
        result.pred_boxes = Boxes(boxes.to(main.pred_boxes.tensor.dtype))
        return result

    def _partners(self, main: Instances, view: Instances) -> tuple[Tensor, Tensor, Tensor]:
        """Find whether each detection has a partner (n, 1), and the partner's box (n, 4) and score (n, 1)."""
        if not len(main) or not len(view):
            zeros = main.scores.new_zeros(len(main), 1, dtype=torch.float64)
            return zeros, zeros.expand(-1, 4), zeros
        overlaps = pairwise_iou(main.pred_boxes, view.pred_boxes)
        same = main.pred_classes[:, None] == view.pred_classes[None]
        best, index = torch.where(same, overlaps, -1.0).max(dim=1)
        boxes = view.pred_boxes.tensor[index].double()
        return (best > self.iou_threshold)[:, None].double(), boxes, view.scores[index, None].double()


class NMSEnsemble:
    """The detections of all views, suppressed within each class: Detectron2's `GeneralizedRCNNWithTTA`.

    For models that suppress their own detections, such as DETA. Detectron2's function does the merging.

    Args:
        num_detections: number of detections to keep.
        nms_threshold: a detection is dropped if its IoU with a better one of its class is larger.

    Raises:
        ValueError: the threshold is outside of [0, 1], or `num_detections` is less than one.
    """

    def __init__(self, *, num_detections: int = 100, nms_threshold: float = 0.7) -> None:
        if num_detections < 1:
            raise ValueError(f"num_detections must be at least 1, got {num_detections}")
        self.num_detections = num_detections
        self.nms_threshold = check_fraction("nms_threshold", nms_threshold)

    def __call__(self, views: Sequence[Instances]) -> Instances:
        """Merge the detections of all views; see `OneToOneEnsemble`.

        Raises:
            ValueError: there are no views, or detections have masks.
        """
        check_views(views)
        boxes = torch.cat([view.pred_boxes.tensor for view in views])
        scores = torch.cat([view.scores for view in views])
        classes = torch.cat([view.pred_classes for view in views])
        num_classes = int(classes.max()) + 1 if len(classes) else 1
        table = scores.new_zeros(len(scores), num_classes + 1)  # the last column is the background, which is left out
        table[torch.arange(len(scores), device=scores.device), classes] = scores
        merged, _ = fast_rcnn_inference_single_image(
            boxes, table, views[0].image_size, 1e-8, self.nms_threshold, self.num_detections
        )
        return merged


Ensemble = OneToOneEnsemble | NMSEnsemble


def check_views(views: Sequence[Instances]) -> None:
    """Raise ValueError unless there are views, all of an image of one size, and of boxes only."""
    for view in views:
        refuse_masks(view)
    sizes = {tuple(view.image_size) for view in views}
    if len(sizes) != 1:
        problem = f"views of images of the sizes {sorted(sizes)}" if sizes else "no views"
        raise ValueError(f"an ensemble is of one image in its own pixels, found {problem}")


def refuse_masks(view: Instances) -> None:
    """Raise ValueError if detections have masks, for which there is no rule of merging."""
    if has_masks(view):
        raise ValueError(
            "detections of several views are merged by their boxes, and there is no rule for masks: switch test-time "
            "augmentation off (train.test_time_augmentation.enabled=False) for a detector that makes masks"
        )


def default_ensemble(model: torch.nn.Module) -> Ensemble:
    """Choose suppression for a model that suppresses its detections, one-to-one ensembling for all others."""
    postprocess = getattr(model, "postprocess", None)
    if postprocess is not None and trait(postprocess, "suppresses"):
        return NMSEnsemble(num_detections=postprocess.num_detections, nms_threshold=postprocess.iou_threshold)
    return OneToOneEnsemble()
