"""ResNet-34 of basic blocks: torchvision's weights, frozen batch norms, frozen stem and res2."""

from .resnet18 import backbone, in_channels, stride4

backbone.stages.depth = 34
weights = dict(init_checkpoint="https://download.pytorch.org/models/resnet34-b627a593.pth")
