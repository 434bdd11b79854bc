"""A detector of a few hundred weights, with everything that makes a run hard to repeat.

It draws noise per image, from the seed in the sample, and drops out activations with the global generator.
``TOY_KILL="step 7"`` or ``"evaluation 2"`` ends the process by SIGKILL at its 7th step or in its 2nd evaluation;
``"step 7 SIGTERM 1"`` sends another signal, to process 1 of several; ``"step 7 worker"`` kills the data workers;
``"step 7 weight 1"`` changes a weight. ``TOY_SLOW`` is the time of a step in seconds.
"""

import multiprocessing
import os
import signal
import time

import torch
import torch.nn.functional as F
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from torch import nn


def kill_at(place, count, model=None):
    """Does to this process what ``TOY_KILL`` says."""
    wanted = os.environ.get("TOY_KILL", "").split()
    if wanted[:2] != [place, str(count)] or (len(wanted) > 3 and wanted[3] != str(comm.get_rank())):
        return
    what = wanted[2] if len(wanted) > 2 else "SIGKILL"
    if what == "worker":
        for process in multiprocessing.active_children():
            process.kill()
    elif what == "weight":
        model.box_head.bias.data[0] += 1
    else:
        os.kill(os.getpid(), signal.Signals[what])


def out_of_memory(*_):
    """As torch raises it on a GPU."""
    raise torch.OutOfMemoryError("CUDA out of memory. Injected by a test")


class ToyDetector(nn.Module):
    """Predicts one box an image, and which classes are in it.

    Args:
        num_classes: classes.
        dim: width.
        dropout: of the image's features.
        nan_at: the training step, counted from 1 in this process, whose class loss is NaN; 0 for never.
        nan_rank: the process in which that happens.
        nan_grad_at: the training step in which a gradient is NaN although the losses are finite.
        room: the number of images that fit into memory; None: any number.
        room_backward: whether memory is short in the backward pass, not in the forward one.
    """

    def __init__(
        self,
        num_classes,
        dim=8,
        dropout=0.0,
        nan_at=0,
        nan_rank=0,
        nan_grad_at=0,
        room=None,
        room_backward=False,
    ):
        super().__init__()
        self.room, self.room_backward = room, room_backward
        self.num_classes = num_classes
        self.nan_at, self.nan_rank, self.nan_grad_at = nan_at, nan_rank, nan_grad_at
        self.backbone = nn.Sequential(nn.Conv2d(3, dim, 3, stride=4), nn.GroupNorm(2, dim), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.box_head = nn.Linear(dim, 4)
        self.class_head = nn.Linear(dim, num_classes)
        self.steps = 0

    def forward(self, batch):
        features = torch.stack([self._features(item) for item in batch])
        boxes, counts = self.box_head(features).sigmoid(), self.class_head(features)
        if not self.training:
            return [self._predict(*parts) for parts in zip(batch, boxes, counts, strict=True)]
        self.steps += 1
        time.sleep(float(os.environ.get("TOY_SLOW", "0")))
        kill_at("step", self.steps, self)
        per_image = [self._losses(*parts) for parts in zip(batch, boxes, counts, strict=True)]
        losses = {name: torch.stack([item[name] for item in per_image]).mean() for name in per_image[0]}
        if self.steps == self.nan_at and comm.get_rank() == self.nan_rank:
            losses["loss_class"] = losses["loss_class"] * float("nan")
        if self.steps == self.nan_grad_at:
            losses["loss_box"] = losses["loss_box"] + torch.sqrt(self.box_head.bias.sum() * 0)
        if self.room is not None and len(batch) > self.room and comm.get_rank() == comm.get_world_size() - 1:
            if not self.room_backward:
                out_of_memory()
            features.register_hook(out_of_memory)
        return losses

    def _features(self, item):
        image = item["image"].float() / 128
        if self.training:
            generator = torch.Generator().manual_seed(item["seed"])
            image = image + 0.1 * torch.randn(image.shape, generator=generator)
        self.features = self.backbone(image[None])
        return self.dropout(self.features.mean((0, 2, 3)))

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
        corners = torch.cat([torch.minimum(box[:2], box[2:]), torch.maximum(box[:2], box[2:])])
        found.pred_boxes = Boxes(corners[None].float() * torch.tensor(size[::-1] * 2))
        found.scores = counts.float().sigmoid().max()[None]
        found.pred_classes = counts.argmax()[None]
        return {"instances": found}


class ToyEvaluator(DatasetEvaluator):
    """The mean score as "AP"; of all processes, on the main one."""

    evaluations = 0

    def reset(self):
        self.scores = []

    def process(self, inputs, outputs):
        kill_at("image", ToyEvaluator.evaluations)
        self.scores += [float(output["instances"].scores.mean()) for output in outputs]

    def evaluate(self):
        ToyEvaluator.evaluations += 1
        kill_at("evaluation", ToyEvaluator.evaluations)
        scores = [score for part in comm.gather(self.scores) for score in part]
        return {"bbox": {"AP": 100 * sum(scores) / len(scores)}} if comm.is_main_process() else None
