"""Group DETR on DETR in miniature, as Conditional DETR is trained."""

from querydet.config import get_config
from querydet.config.miniature import shrink

from .conditional_detr import dataloader, lr_multiplier, optimizer, train

model = shrink(get_config("common/models/group_detr.py").model)
model.num_classes = 6
train.output_dir = "output/convergence_dense/group_detr"
