"""MS-DETR with Align-DETR's losses in miniature, as the baseline is trained."""

from querydet.config import get_config
from querydet.config.miniature import shrink

from .deformable_detr_pp import dataloader, lr_multiplier, optimizer, train

model = shrink(get_config("common/models/ms_align_detr.py").model)
model.num_classes = 6
train.output_dir = "output/convergence/ms_align_detr"
