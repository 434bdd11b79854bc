"""ViT-H with the simple feature pyramid of ViTDet, as `vit_b.py`; patches of 16 pixels instead of MAE's 14."""

from .vit_b import backbone, in_channels, stride4

backbone.net.update(
    {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_blocks": [7, 15, 23, 31], "drop_path_rate": 0.5}
)
weights = dict(init_checkpoint="detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_huge_p14to16.pth")
