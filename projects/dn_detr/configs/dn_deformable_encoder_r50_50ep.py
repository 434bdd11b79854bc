"""DN-DETR, a deformable encoder and standard attention in the decoder, 3 patterns, R50, 50 epochs (DINO, table 2)."""

from querydet.config import get_config

dataloader = get_config("common/data/coco.py").dataloader
model = get_config("common/models/dn_deformable_encoder.py").model
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep
train = get_config("common/train.py").train

train.max_epochs = 50
train.init_checkpoint = get_config("common/backbones/resnet.py").weights.init_checkpoint
train.output_dir = "output/dn_deformable_encoder_r50_50ep"
