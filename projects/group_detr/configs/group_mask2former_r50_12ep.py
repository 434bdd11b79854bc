"""Group DETR on Mask2Former, R50, 11 groups, 12 epochs (arXiv 2207.13085, table 6)."""

from querydet.config import get_config

from ...mask2former.configs.mask2former_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/group_mask2former.py").model

train.output_dir = "output/group_mask2former_r50_12ep"
