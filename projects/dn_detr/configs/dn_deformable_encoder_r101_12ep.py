"""DN-DETR with a deformable encoder and a decoder with standard attention, three patterns, R101, 12 epochs (44.1 AP)."""

from .dn_deformable_encoder_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone.stages.depth = 101

train.init_checkpoint = "detectron2://ImageNetPretrained/torchvision/R-101.pkl"
train.output_dir = "output/dn_deformable_encoder_r101_12ep"
