"""DN-DETR with a deformable encoder and a decoder with standard attention, three patterns, R101, 12 epochs.

Detectron2's model zoo has no copy of torchvision's ResNet-101. Its script ``tools/convert-torchvision-to-d2.py`` makes
one of https://download.pytorch.org/models/resnet101-63fe2227.pth.
"""

from .dn_deformable_encoder_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone.stages.depth = 101

train.init_checkpoint = "resnet101-63fe2227.pkl"
train.output_dir = "output/dn_deformable_encoder_r101_12ep"
