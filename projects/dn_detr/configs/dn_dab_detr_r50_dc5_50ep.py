"""DN-DETR with dense attention, 5 denoising groups, R50-DC5, 50 epochs (the authors' repository)."""

from querydet.config import get_config

from .dn_dab_detr_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone = get_config("common/backbones/resnet_dc5.py").backbone

train.output_dir = "output/dn_dab_detr_r50_dc5_50ep"
