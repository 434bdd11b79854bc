"""DAC-DETR as released, Swin-L with windows of 12, 24 epochs (the authors' repository)."""

from querydet.config import get_config

from .dac_detr_cdn_ice_swin_l_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

model.backbone.drop_path_rate = 0.5
optimizer.weight_decay = 0.05
train.max_epochs = 24
train.output_dir = "output/dac_detr_cdn_ice_swin_l_24ep"
