"""ViT-L with the simple feature pyramid of ViTDet, as `vit_b.py`."""

from .vit_b import backbone, in_channels, stride4

backbone.net.update(
    {"embed_dim": 1024, "depth": 24, "num_heads": 16, "global_blocks": [5, 11, 17, 23], "drop_path_rate": 0.4}
)
weights = dict(init_checkpoint="detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_large.pth")
