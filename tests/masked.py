"""A detector with masks: another one, to whose detections it adds an ellipse in each box."""

import torch
from torch import nn

from querydet.utils.run_lengths import encode_masks


def ellipses(boxes_xyxy, size):
    """Masks (n, H, W) bool of the ellipses in boxes (n, 4), in pixels."""
    height, width = size
    y, x = torch.arange(height)[None, :, None] + 0.5, torch.arange(width)[None, None] + 0.5
    x0, y0, x1, y1 = (side[:, None, None] for side in boxes_xyxy.unbind(1))
    across, down = (2 * x - x0 - x1) / (x1 - x0).clamp(min=1), (2 * y - y0 - y1) / (y1 - y0).clamp(min=1)
    return across**2 + down**2 <= 1


class WithMasks(nn.Module):
    """Detects what a detector detects, with masks.

    Args:
        detector: any that returns instances with boxes.
        as_rle: give run lengths instead of bitmaps.
    """

    def __init__(self, detector, as_rle=False):
        super().__init__()
        self.detector, self.as_rle = detector, as_rle
        self.num_classes = detector.num_classes

    def forward(self, batch):
        outputs = self.detector(batch)
        for output in outputs:
            instances = output["instances"]
            masks = ellipses(instances.pred_boxes.tensor, instances.image_size)
            if self.as_rle:
                instances.pred_masks_rle = encode_masks(masks)
            else:
                instances.pred_masks = masks
        return outputs
