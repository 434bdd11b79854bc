"""MS-DETR with masks in miniature, as the baseline is trained."""

from querydet.config import get_config
from querydet.config.miniature import shrink

from .mask_deformable_detr_pp import dataloader, lr_multiplier, optimizer, train

_mask = get_config("common/models/masks/dot_product_short.py")

model = get_config("common/models/ms_detr.py").model
model.masks = _mask.masks
model.criterion.rules.decoder.losses.update(_mask.losses)
shrink(model)

model.num_classes = 6
train.output_dir = "output/convergence_masks/mask_ms_detr"
