"""Deformable DETR++ in miniature, the baseline of the comparison: crowded scenes of small objects and look-alikes."""

import os

from querydet.config import get_config
from querydet.config.miniature import shrink

dataloader = get_config("common/data/synthetic.py").dataloader
model = shrink(get_config("common/models/deformable_detr_pp.py").model)
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train

# harder than the quickstart's
_scenes = dataloader.train.dataset
_scenes.num_images = 800
_scenes.root = os.path.join(os.getenv("QUERYDET_DATA", "datasets"), "synthetic_crowded")
_scenes.style.min_objects = 3
_scenes.style.max_objects = 9
_scenes.style.min_size = 0.10
_scenes.style.max_size = 0.28
_scenes.style.max_overlap = 0.4
_scenes.style.clutter = 20
_scenes.style.lookalikes = 3
dataloader.train.mapper.augmentations.short_sides = [128]

model.num_classes = 6

train.output_dir = "output/convergence/deformable_detr_pp"
train.max_epochs = 5
train.eval_period = 1
train.clip_grad_norm = 1.0
train.checkpointer.period = 5
optimizer.lr = 1e-3
optimizer.lr_factors = {"backbone": 1.0}
lr_multiplier.milestones = [4]
lr_multiplier.warmup_epochs = 0.5
