"""DAC-DETR with denoising and the focal loss, Swin-L, 12 epochs (the authors' repository)."""

from querydet.config import get_config

from .dac_detr_cdn_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

_swin = get_config("common/backbones/swin.py")
model.backbone = _swin.backbone
model.neck.in_channels = _swin.in_channels

train.init_checkpoint = _swin.weights.init_checkpoint
train.output_dir = "output/dac_detr_cdn_swin_l_12ep"
