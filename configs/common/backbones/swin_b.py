"""Swin-B with windows of 12, trained on ImageNet-22k and then on ImageNet-1k at 384 x 384; drop path 0.2."""

from .swin import backbone

backbone.embed_dim, backbone.num_heads = 128, [4, 8, 16, 32]
backbone.use_checkpoint = False
in_channels = {"p1": 256, "p2": 512, "p3": 1024}
stride4 = {"p0": 128}
weights = dict(
    init_checkpoint=(
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window12_384_22kto1k.pth"
    )
)
