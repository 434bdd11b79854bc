"""Swin-L with windows of 12, trained on ImageNet-22k and then on ImageNet-1k at 384 x 384 (detrex's DINO)."""

from .swin import backbone, in_channels, stride4

weights = dict(
    init_checkpoint=(
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window12_384_22kto1k.pth"
    )
)
