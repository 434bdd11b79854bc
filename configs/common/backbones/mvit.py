"""MViTv2-T (arXiv 2112.01526, table 1 and section 5.2): maps of stride 8 to 32, as Detectron2's MViTv2 project has it.

It takes images of any size. Attention has no mask: padding counts among its keys. Detections therefore depend on the
size of the padded batch, though not on the content of other images.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.backbones import make_mvit

backbone = L(make_mvit)(
    embed_dim=96,
    depth=10,
    last_blocks=[0, 2, 7, 9],
    num_heads=1,
    drop_path_rate=0.2,
    image_size=224,
    out_features=["scale3", "scale4", "scale5"],
)
in_channels = {"scale3": 192, "scale4": 384, "scale5": 768}
stride4 = {"scale2": 96}
weights = dict(init_checkpoint="detectron2://ImageNetPretrained/mvitv2/MViTv2_T_in1k.pyth")
