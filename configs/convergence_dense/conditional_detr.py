"""Conditional DETR in miniature, the baseline among the models with dense attention.

They learn more slowly than deformable ones: after the 500 iterations on crowded scenes that are compared in
``configs/convergence`` none of them had learned to detect. Here scenes are plainer and iterations more.
"""

from querydet.config import get_config
from querydet.config.miniature import shrink

dataloader = get_config("common/data/synthetic.py").dataloader
model = shrink(get_config("common/models/conditional_detr.py").model)
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep
train = get_config("common/train.py").train

dataloader.train.mapper.augmentations.short_sides = [128]

model.num_classes = 6

train.output_dir = "output/convergence_dense/conditional_detr"
train.max_epochs = 10
train.eval_period = 2
train.clip_grad_norm = 1.0
train.checkpointer.period = 10
optimizer.lr = 4e-4
optimizer.lr_factors = {"backbone": 1.0}
lr_multiplier.milestones = [8]
lr_multiplier.warmup_epochs = 0.5
