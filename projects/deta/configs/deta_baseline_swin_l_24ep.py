"""DETA's improved baseline, Swin-L, 24 epochs (table 4)."""

from querydet.config import get_config

from .deta_swin_l_24ep import dataloader, lr_multiplier, model, optimizer, train

_deta, model = model, get_config("common/models/deta_baseline.py").model
model.backbone = _deta.backbone
model.neck.in_channels = _deta.neck.in_channels
train.output_dir = "output/deta_baseline_swin_l_24ep"
