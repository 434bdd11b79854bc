"""DN-DETR with dense attention, 5 denoising groups, R50, 50 epochs (the authors' repository)."""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/dn_dab_detr.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep
train = get_config("common/train.py").train

train.max_epochs = 50
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/dn_dab_detr_r50_50ep"
