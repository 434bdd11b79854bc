"""Swin-L with windows of 12, as in the released code of DINO (arXiv 2203.03605): nothing frozen, drop path 0.2."""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import SwinTransformer

backbone = L(SwinTransformer)(
    pretrain_img_size=384,
    embed_dim=192,
    depths=[2, 2, 18, 2],
    num_heads=[6, 12, 24, 48],
    window_size=12,
    drop_path_rate=0.2,
    out_indices=[1, 2, 3],
    use_checkpoint=True,
)
in_channels = {"p1": 384, "p2": 768, "p3": 1536}
stride4 = {"p0": 192}

# the authors' ImageNet-22k weights at 384 x 384
weights = dict(
    init_checkpoint=(
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window12_384_22k.pth"
    )
)
