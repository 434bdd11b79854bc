"""Swin-S with windows of 7, trained on ImageNet-1k at 224 x 224; drop path 0.2 as in detrex's DINO."""

from .swin_t import backbone, in_channels, stride4

backbone.depths = [2, 2, 18, 2]
backbone.drop_path_rate = 0.2
weights = dict(
    init_checkpoint=(
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_small_patch4_window7_224.pth"
    )
)
