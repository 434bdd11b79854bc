"""A DINO that learns synthetic shapes from scratch on two CPU cores, in minutes: every part of the real one, small."""

from querydet.config import get_config

dataloader = get_config("common/data/synthetic.py").dataloader
model = get_config("common/models/dino_tiny.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train

# one size for all images: no padding, so that any number of processes computes the same losses
dataloader.train.mapper.augmentations.short_sides = [128]

model.num_classes = 6

train.output_dir = "output/quick"
train.max_epochs = 8
train.eval_period = 2
train.clip_grad_norm = 1.0
optimizer.lr = 1e-3
optimizer.lr_factors = {"backbone": 1.0}
lr_multiplier.milestones = [6]
lr_multiplier.warmup_epochs = 0.5
