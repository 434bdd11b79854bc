"""Swin-T with windows of 7, trained on ImageNet-1k at 224 x 224; drop path 0.1 as in detrex's DINO."""

from .swin import backbone

backbone.embed_dim, backbone.depths, backbone.num_heads = 96, [2, 2, 6, 2], [3, 6, 12, 24]
backbone.pretrain_img_size, backbone.window_size = 224, 7
backbone.drop_path_rate = 0.1
backbone.use_checkpoint = False
in_channels = {"p1": 192, "p2": 384, "p3": 768}
stride4 = {"p0": 96}
weights = dict(
    init_checkpoint=(
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth"
    )
)
