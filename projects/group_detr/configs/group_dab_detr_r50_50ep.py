"""Group DETR on DAB-DETR, 11 groups, R50, 50 epochs (arXiv 2207.13085)."""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/group_dab_detr.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep
train = get_config("common/train.py").train

train.max_epochs = 50
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/group_dab_detr_r50_50ep"
