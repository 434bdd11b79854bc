"""The real DINO with all its parts, on the toy data and a backbone of a few weights that can be made to fail."""

import torch
from detectron2.config import LazyCall as L
from detectron2.utils import comm

from tests.engine.toy import kill_at, out_of_memory
from tests.models import PooledBackbone, tiny_config

from .toy_config import dataloader, lr_multiplier, optimizer, train  # noqa: F401 - parts of this config


class FaultyBackbone(PooledBackbone):
    """Adds NaN to the features of one training step, in one process.

    Args:
        channels: as for the parent.
        nan_at: the training step, counted from 1 in this process; 0 for never.
        nan_rank: the process.
        room: the number of images that fit into memory; None: any number.
    """

    def __init__(self, channels, nan_at=0, nan_rank=0, room=None):
        super().__init__(channels)
        self.room = room
        self.nan_at, self.nan_rank, self.steps = nan_at, nan_rank, 0

    def forward(self, images):
        maps = super().forward(images)
        if self.training:
            self.steps += 1
            kill_at("step", self.steps)
            if self.room is not None and len(images) > self.room and comm.get_rank() == comm.get_world_size() - 1:
                out_of_memory()
            if self.steps == self.nan_at and comm.get_rank() == self.nan_rank:
                maps = {name: value + torch.nan for name, value in maps.items()}
        return maps


model = tiny_config("dino", num_classes=6)
model.backbone = L(FaultyBackbone)(channels=model.backbone.channels, nan_at=0, nan_rank=0)
dataloader["train"].dataset.image_size = 64
dataloader["test"].dataset.image_size = 64
