"""ResNet-101: torchvision's V1 weights, frozen batch norms, frozen stem and res2."""

from .resnet import backbone, in_channels, stride4

backbone.stages.depth = 101
weights = dict(init_checkpoint="https://download.pytorch.org/models/resnet101-63fe2227.pth")
