"""DETA, Swin-L, 24 epochs from ImageNet-22k: what the released fine-tuning has, without Objects365 before it."""

from querydet.config import get_config

from .deta_r50_24ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/deta_swin.py").model

train.init_checkpoint = get_config("common/backbones/swin.py").weights.init_checkpoint
train.output_dir = "output/deta_swin_l_24ep"
