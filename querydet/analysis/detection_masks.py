"""The masks of detections as a part of a forward pass that is only counted.

A detector makes the masks of detections after its postprocess, of each query once. How many queries that is depends on
the image; a count takes the most: as many as there are detections or queries.
"""

from torch import nn

from querydet.structures import PredictionSet
from querydet.traits import trait


class DetectionMasks(nn.Module):
    """Makes the masks of the most queries that can be detected in an image; a module, so that counters see its name.

    Args:
        postprocess: of the detector; its trait `num_detections` bounds the queries.
    """

    def __init__(self, postprocess: object) -> None:
        super().__init__()
        self.num_detections = trait(postprocess, "num_detections")

    def forward(self, predictions: PredictionSet) -> None:
        """Make masks for the first image of a batch; nothing happens where predictions have none.

        Args:
            predictions: of the primary queries after the last layer.
        """
        if predictions.masks is not None and predictions.hidden is not None:
            predictions.masks.of_image(0, predictions.hidden[0, : self.num_detections])
