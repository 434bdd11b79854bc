"""MS-DETR with Align-DETR's losses, R50, 900 queries, 12 epochs (arXiv 2401.03989, table 4)."""

from querydet.config import get_config

from .ms_dino_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/ms_align_detr.py").model

train.output_dir = "output/ms_align_detr_r50_12ep"
