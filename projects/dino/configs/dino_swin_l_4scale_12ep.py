"""DINO, Swin-L, 4 scales, 12 epochs (the authors' repository)."""

from querydet.config import get_config

from .dino_r50_4scale_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/dino_swin.py").model

train.init_checkpoint = get_config("common/backbones/swin.py").weights.init_checkpoint
train.output_dir = "output/dino_swin_l_4scale_12ep"
