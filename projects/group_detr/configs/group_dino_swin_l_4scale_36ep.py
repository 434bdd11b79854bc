"""Group DETR on DINO, Swin-L, 4 scales, 11 groups, 36 epochs (arXiv 2207.13085, table 4)."""

from querydet.config import get_config

from .group_dino_r50_4scale_36ep import dataloader, lr_multiplier, model, optimizer, train

_swin = get_config("common/models/dino_swin.py").model

model.backbone = _swin.backbone
model.neck.in_channels = _swin.neck.in_channels

train.init_checkpoint = get_config("common/backbones/swin.py").weights.init_checkpoint
train.output_dir = "output/group_dino_swin_l_4scale_36ep"
