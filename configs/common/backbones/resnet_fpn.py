"""ResNet-50 with a feature pyramid (FPN, arXiv 1612.03144, section 3): maps of stride 8 to 64, all of 256 channels.

For the finest map, stride 4, add "res2" to both lists of names and "p2" to `in_channels`. Batches are padded to
multiples of 32. As in Detectron2, convolutions have no mask: features near the right and lower border of an image
depend on how far its batch is padded, and so do its detections, slightly.
"""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool

from querydet.config import get_config

resnet = get_config("common/backbones/resnet.py")

backbone = L(FPN)(
    bottom_up=resnet.backbone,
    in_features=["res3", "res4", "res5"],
    out_channels=256,
    norm="",
    top_block=L(LastLevelMaxPool)(),
    square_pad=0,
)
in_channels = {"p3": 256, "p4": 256, "p5": 256, "p6": 256}
stride4 = {"p2": 256}
weights = resnet.weights
