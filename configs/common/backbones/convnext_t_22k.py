"""ConvNeXt-T, trained on ImageNet-22k and then on ImageNet-1k at 384 x 384."""

from .convnext_t import backbone, in_channels, stride4

weights = dict(init_checkpoint="https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_1k_384.pth")
