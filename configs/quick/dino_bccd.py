"""A small DINO on photographs of blood cells (BCCD), from scratch on two CPU cores."""

from querydet.config import get_config

dataloader = get_config("common/data/bccd.py").dataloader
model = get_config("common/models/dino_tiny.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train

# 640x480 photographs at half their size; the cells are large enough
_train_augmentations = dataloader.train.mapper.augmentations
_train_augmentations.short_sides = [208, 240, 272]
_train_augmentations.max_side = 400
_train_augmentations.crop_short_sides = [240, 280, 320]
_train_augmentations.crop_sides = [160, 240]
dataloader.test.mapper.augmentations.short_side = 240
dataloader.test.mapper.augmentations.max_side = 400
dataloader.train.total_batch_size = 4
dataloader.train.num_workers = 2

model.num_classes = 3
model.selection.num_queries = 100

train.output_dir = "output/bccd"
train.max_epochs = 60
train.eval_period = 5
train.checkpointer.period = 10
train.clip_grad_norm = 1.0
optimizer.lr = 1e-3
optimizer.lr_factors = {"backbone": 1.0}
lr_multiplier.milestones = [50]
lr_multiplier.warmup_epochs = 2
