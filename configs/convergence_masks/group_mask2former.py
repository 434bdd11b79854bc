"""Group DETR on Mask2Former in miniature, as the baseline is trained."""

from querydet.config import get_config
from querydet.config.miniature import shrink

from .mask_deformable_detr_pp import dataloader, lr_multiplier, optimizer, train

model = shrink(get_config("common/models/group_mask2former.py").model)
model.num_classes = 6
train.output_dir = "output/convergence_masks/group_mask2former"
