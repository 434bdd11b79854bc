"""DETR-DC5 with DETA's second-stage assignment and suppression, R50, 50 epochs (arXiv 2212.06137, table 1)."""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/deta_detr.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep
train = get_config("common/train.py").train

model.backbone = get_config("common/backbones/resnet_dc5.py").backbone

train.max_epochs = 50
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/deta_detr_r50_dc5_50ep"
