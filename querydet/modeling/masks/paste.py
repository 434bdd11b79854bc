"""The masks of detections, in the pixels of the image."""

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import masks_to_boxes

from querydet.mask_structures import ImageMasks
from querydet.utils.run_lengths import encode_masks

RESIZES = ("bilinear", "nearest")
QUERIES_AT_ONCE = 16  # of an image: bounds the memory of logits at the size of the image
SCORE_EPS = 1e-6  # added to the number of pixels (released code of Mask2Former)


class PasteMasks:
    """Makes the masks of detections: resizes logits to the padded image, crops that to the image, and resizes it.

    Args:
        resize: the last step, "bilinear" of logits before the threshold (Mask2Former), or "nearest" of the masks after
            it (DETR, MS-DETR).
        rescore: whether scores are multiplied by the mean probability of the mask's pixels (Mask2Former); detections
            are sorted again.
        boxes_from_masks: whether boxes are those around the masks, for detectors that predict none; an empty mask has
            an empty box.
        as_rle: whether detections have `pred_masks_rle`, COCO's run lengths, in place of `pred_masks`.
        min_score: detections of a lower score have no mask made and are left out.

    Raises:
        ValueError: for another way to resize, or a score outside of [0, 1].
    """

    def __init__(
        self,
        *,
        resize: str = "bilinear",
        rescore: bool = False,
        boxes_from_masks: bool = False,
        as_rle: bool = False,
        min_score: float = 0.0,
    ) -> None:
        if resize not in RESIZES:
            raise ValueError(f"resize must be one of {RESIZES}, found {resize!r}")
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score must be in [0, 1], found {min_score}")
        self.resize, self.rescore, self.boxes_from_masks = resize, rescore, boxes_from_masks
        self.as_rle, self.min_score = as_rle, min_score

    def __call__(
        self, instances: Instances, masks: ImageMasks, image: int, hidden: Tensor, image_size: tuple[int, int]
    ) -> Instances:
        """Return the detections of an image with `pred_masks` (n, H, W) bool, of their own image size.

        A query that made several detections has its mask computed once.

        Args:
            instances: the detections, with `query_indices`.
            masks: makes the masks of the batch.
            image: index of the image in the batch.
            hidden: (Q, C), the hidden states of its queries.
            image_size: height and width of the image in the batch, without padding.
        """
        instances = instances[instances.scores >= self.min_score]
        queries, mask_of = instances.query_indices.unique(return_inverse=True)
        masks_of_queries: list[Any] = []
        boxes, quality = [hidden.new_zeros(0, 4, dtype=torch.float32)], [hidden.new_zeros(0, dtype=torch.float32)]
        for rows in queries.split(QUERIES_AT_ONCE) if len(queries) else ():
            logits = masks.of_image(image, hidden[rows])
            bitmaps, mean = self.paste(logits, masks.canvas, image_size, instances.image_size)
            quality.append(mean)
            boxes.append(boxes_around(bitmaps) if self.boxes_from_masks else boxes[0])
            masks_of_queries += encode_masks(bitmaps) if self.as_rle else [bitmaps]
        if self.boxes_from_masks:
            instances.pred_boxes = Boxes(torch.cat(boxes)[mask_of])
        if self.rescore:
            instances.scores = instances.scores * torch.cat(quality)[mask_of].to(instances.scores.dtype)
            order = instances.scores.argsort(descending=True, stable=True)
            instances, mask_of = instances[order], mask_of[order]
        if self.as_rle:
            instances.pred_masks_rle = [masks_of_queries[index] for index in mask_of.tolist()]
        else:
            empty = torch.zeros(0, *instances.image_size, dtype=torch.bool, device=hidden.device)
            instances.pred_masks = torch.cat([*masks_of_queries, empty])[mask_of]
        return instances

    def paste(
        self, logits: Tensor, canvas: tuple[int, int], image_size: tuple[int, int], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return masks (n, *size) bool of logits (n, h, w), and the mean probability (n,) of their pixels.

        Args:
            logits: (n, h, w), of the padded image.
            canvas: height and width of the padded image.
            image_size: height and width of the image without padding.
            size: height and width to return.
        """
        height, width = image_size
        resized = F.interpolate(logits[None], size=canvas, mode="bilinear", align_corners=False)[..., :height, :width]
        if self.resize == "bilinear":
            resized = F.interpolate(resized, size=size, mode="bilinear", align_corners=False)
            bitmaps = resized[0] > 0
        else:
            bitmaps = F.interpolate((resized > 0).to(resized.dtype), size=size, mode="nearest")[0] > 0
        if not self.rescore:
            return bitmaps, logits.new_ones(len(logits))
        if self.resize == "nearest":
            resized = F.interpolate(resized, size=size, mode="nearest")
        probability = (resized[0].sigmoid() * bitmaps).flatten(1).sum(1)
        return bitmaps, probability / (bitmaps.flatten(1).sum(1) + SCORE_EPS)


def boxes_around(bitmaps: Tensor) -> Tensor:
    """Return the boxes (n, 4) as XYXY in pixels around masks (n, H, W) bool; zeros for an empty mask."""
    boxes = torch.zeros(len(bitmaps), 4, device=bitmaps.device)
    filled = bitmaps.flatten(1).any(1)
    if filled.any():
        # torchvision's lower right corner is a pixel of the mask, ours the end of that pixel
        boxes[filled] = masks_to_boxes(bitmaps[filled]) + boxes.new_tensor([0, 0, 1, 1])
    return boxes
