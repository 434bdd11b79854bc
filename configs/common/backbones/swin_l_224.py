"""Swin-L with windows of 7, trained on ImageNet-22k and then on ImageNet-1k at 224 x 224 (detrex's DINO)."""

from .swin import backbone, in_channels, stride4

backbone.pretrain_img_size, backbone.window_size = 224, 7
weights = dict(
    init_checkpoint=(
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window7_224_22kto1k.pth"
    )
)
