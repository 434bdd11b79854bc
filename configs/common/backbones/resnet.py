"""ResNet-50 as every paper of this family uses it: torchvision's weights, frozen batch norms, frozen stem and res2."""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import BasicStem, ResNet

backbone = L(ResNet)(
    stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
    stages=L(ResNet.make_default_stages)(depth=50, stride_in_1x1=False, norm="FrozenBN"),
    out_features=["res3", "res4", "res5"],
    freeze_at=2,
)
in_channels = {"res3": 512, "res4": 1024, "res5": 2048}
stride4 = {"res2": 256}

# Detectron2's copy of torchvision's V1 weights, in RGB
weights = dict(init_checkpoint="detectron2://ImageNetPretrained/torchvision/R-50.pkl")
