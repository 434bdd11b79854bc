"""Swin-T, trained on ImageNet-22k and then on ImageNet-1k at 224 x 224."""

from .swin_t import backbone, in_channels, stride4

weights = dict(
    init_checkpoint=(
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.8/swin_tiny_patch4_window7_224_22kto1k_finetune.pth"
    )
)
