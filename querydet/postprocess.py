"""From the predictions of the last decoder layer to detections."""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from querydet.boxes import cxcywh_to_xyxy


class TopKPostprocess:
    """The highest scores of all (query, class) pairs, without suppression or threshold.

    One query may give several detections of different classes.

    Args:
        num_detections: per image: 300 in DINO, 100 in Deformable DETR.
        clip: clip boxes to the image and drop those of no area, as Detectron2 does; the released codes do neither.
    """

    def __init__(self, *, num_detections: int = 300, clip: bool = True) -> None:
        self.num_detections = num_detections
        self.clip = clip

    def __call__(self, logits: Tensor, boxes: Tensor, sizes: list[tuple[int, int]]) -> list[Instances]:
        """Detect.

        Args:
            logits: (B, Q, K).
            boxes: (B, Q, 4), normalised.
            sizes: (height, width) in pixels of the images that the boxes are wanted for.

        Returns:
            Per image ``pred_boxes`` (XYXY, pixels), ``scores`` and ``pred_classes``, by falling score.
        """
        num_classes = logits.shape[-1]
        scores = logits.sigmoid().flatten(1)
        scores, index = scores.topk(min(self.num_detections, scores.shape[1]), dim=1)
        boxes_xyxy = cxcywh_to_xyxy(boxes).gather(1, (index // num_classes)[..., None].expand(-1, -1, 4))
        return [
            self._instances(image_boxes, image_scores, classes, size)
            for image_boxes, image_scores, classes, size in zip(
                boxes_xyxy, scores, index % num_classes, sizes, strict=True
            )
        ]

    def _instances(self, boxes_xyxy: Tensor, scores: Tensor, classes: Tensor, size: tuple[int, int]) -> Instances:
        height, width = size
        scale = torch.tensor([width, height, width, height], dtype=boxes_xyxy.dtype, device=boxes_xyxy.device)
        instances = Instances(size, pred_boxes=Boxes(boxes_xyxy * scale), scores=scores, pred_classes=classes)
        if self.clip:
            instances.pred_boxes.clip(size)
            instances = instances[instances.pred_boxes.nonempty()]
        return instances
