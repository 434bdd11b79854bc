"""Group DETR on Deformable DETR++ with masks in miniature, as the baseline is trained."""

from querydet.config import get_config
from querydet.config.miniature import shrink

from .mask_deformable_detr_pp import dataloader, lr_multiplier, optimizer, train

_mask = get_config("common/models/masks/dot_product_short.py")

model = get_config("common/models/group_deformable_detr_pp.py").model
model.masks = _mask.masks
model.masks.groups = "all"
model.criterion.rules.decoder.losses.update(_mask.losses)
shrink(model)

model.num_classes = 6
train.output_dir = "output/convergence_masks/mask_group_deformable_detr_pp"
