"""MS-DETR with DINO's denoising, R50, 900 queries, 24 epochs (arXiv 2401.03989, table 2)."""

from querydet.config import get_config

from .ms_dino_r50_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

train.max_epochs = 24
train.output_dir = "output/ms_dino_r50_24ep"
