"""ViT-B with the simple feature pyramid of ViTDet (arXiv 2203.16527, section 3): maps of stride 8 to 64.

Sizes and drop path are those of Detectron2's ViTDet for COCO. Batches are padded to multiples of 32; set
`square_pad=1024` for recipes with large-scale jitter. Attention has no mask: padding counts among its keys, and
positions are resized to the padded batch. Detections therefore depend on the size of the padded batch, though not on
the content of other images.
"""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

from querydet.modeling.backbones import make_vit

backbone = L(SimpleFeaturePyramid)(
    net=L(make_vit)(
        embed_dim=768,
        depth=12,
        num_heads=12,
        global_blocks=[2, 5, 8, 11],
        window_size=14,
        drop_path_rate=0.1,
        image_size=1024,
        absolute_positions=True,
    ),
    in_feature="last_feat",
    out_channels=256,
    scale_factors=[2.0, 1.0, 0.5],
    top_block=L(LastLevelMaxPool)(),
    norm="LN",
    square_pad=0,
)
in_channels = {"p3": 256, "p4": 256, "p5": 256, "p6": 256}
stride4 = {"p2": 256}

# the authors' masked autoencoder (arXiv 2111.06377)
weights = dict(init_checkpoint="detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_base.pth")
