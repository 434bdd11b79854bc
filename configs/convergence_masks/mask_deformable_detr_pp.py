"""Deformable DETR++ with masks in miniature, the baseline of the comparison of masks, trained as without them."""

from querydet.config import get_config
from querydet.config.miniature import shrink

_base = get_config("convergence/deformable_detr_pp.py")
_mask = get_config("common/models/masks/dot_product_short.py")

dataloader = _base.dataloader
lr_multiplier = _base.lr_multiplier
optimizer = _base.optimizer
train = _base.train
model = get_config("common/models/deformable_detr_pp.py").model
model.masks = _mask.masks
model.criterion.rules.decoder.losses.update(_mask.losses)
shrink(model)

model.num_classes = 6
dataloader.train.dataset.masks = True
train.output_dir = "output/convergence_masks/mask_deformable_detr_pp"
