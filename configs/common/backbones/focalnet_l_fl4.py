"""FocalNet-L with 4 focal levels, trained on ImageNet-22k at 384 x 384."""

from .focalnet_l import backbone, in_channels, stride4

backbone.name = "focalnet_large_fl4"
weights = dict(
    init_checkpoint="https://github.com/microsoft/FocalNet/releases/download/v1.0.0/focalnet_large_lrf_384_fl4.pth"
)
