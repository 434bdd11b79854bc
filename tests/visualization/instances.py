"""An image and detections to draw."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

GREY = np.full((120, 160, 3), 128, np.uint8)


def predictions(boxes, scores, classes, size=(120, 160)):
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(scores)
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    return instances
