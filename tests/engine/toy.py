"""A detector of a few hundred weights, with everything that makes a run hard to repeat.

It draws noise per image, from the seed in the sample, and drops out activations with the global generator.
"""

import os
import signal
import time

import torch
import torch.nn.functional as F
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, Instances
from torch import nn


class ToyDetector(nn.Module):
    """Predicts one box an image, and how many objects of every class there are."""

    def __init__(self, num_classes: int, dim: int = 8, dropout: float = 0.0, nan_at: int = 0, nan_grad_at: int = 0):
        super().__init__()
        self.num_classes = num_classes
        self.nan_at = nan_at
        self.nan_grad_at = nan_grad_at
        self.backbone = nn.Sequential(nn.Conv2d(3, dim, 3, stride=4), nn.GroupNorm(2, dim), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.box_head = nn.Linear(dim, 4)
        self.class_head = nn.Linear(dim, num_classes)
        self.register_buffer("pixel_std", torch.tensor(128.0), persistent=False)
        self.calls = 0

    def forward(self, batch):
        features = torch.stack([self._features(item) for item in batch])
        boxes, counts = self.box_head(features).sigmoid(), self.class_head(features)
        if not self.training:
            return [self._predict(*parts) for parts in zip(batch, boxes, counts, strict=True)]
        self.calls += 1
        per_image = [self._losses(*parts) for parts in zip(batch, boxes, counts, strict=True)]
        losses = {name: torch.stack([item[name] for item in per_image]).mean() for name in per_image[0]}
        if self.calls == self.nan_at:
            losses["loss_class"] = losses["loss_class"] * float("nan")
        if self.calls == self.nan_grad_at:
            losses["loss_box"] = losses["loss_box"] + torch.sqrt(self.box_head.bias.abs().sum() * 0)
        return losses

    def _features(self, item):
        image = item["image"].to(self.pixel_std.device).float() / self.pixel_std
        if self.training:
            generator = torch.Generator().manual_seed(item["seed"])
            image = image + 0.1 * torch.randn(image.shape, generator=generator)
        return self.dropout(self.backbone(image[None]).mean((0, 2, 3)))

    def _losses(self, item, box, counts):
        target = item["instances"]
        scale = torch.tensor(target.image_size[::-1] * 2, dtype=torch.float32)
        mean = target.gt_boxes.tensor.mean(0) / scale if len(target) else torch.full((4,), 0.5)
        present = torch.bincount(target.gt_classes, minlength=self.num_classes).clamp(max=1).float()
        return {
            "loss_box": F.l1_loss(box.float(), mean),
            "loss_class": F.binary_cross_entropy_with_logits(counts.float(), present),
        }

    def _predict(self, item, box, counts):
        size = item["height"], item["width"]
        found = Instances(size)
        low, high = torch.minimum(box[:2], box[2:]), torch.maximum(box[:2], box[2:])
        found.pred_boxes = Boxes(torch.cat([low, high])[None].float() * torch.tensor(size[::-1] * 2))
        found.scores = counts.float().sigmoid().max()[None]
        found.pred_classes = counts.argmax()[None]
        return {"instances": found}


class ToyEvaluator(DatasetEvaluator):
    """Mean score as "AP"; with QUERYDET_KILL_FILE set, ends the process in an evaluation as soon as the file is there."""

    def reset(self):
        self.scores = []

    def process(self, inputs, outputs):
        self.scores += [float(output["instances"].scores.mean()) for output in outputs]

    def evaluate(self):
        kill_file = os.environ.get("QUERYDET_KILL_FILE")
        if kill_file and os.path.exists(kill_file):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return {"bbox": {"AP": 100 * sum(self.scores) / max(1, len(self.scores))}}
