"""DINO, Swin-L, 5 scales, 36 epochs (the authors' repository; DETA, table 4, is likely of this model)."""

from querydet.config import get_config

from .dino_swin_l_5scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_36ep

train.max_epochs = 36
train.output_dir = "output/dino_swin_l_5scale_36ep"
