"""ResNet-50-DC5: the last stage is dilated, and its map has stride 16 (DETR). The weights are those of ResNet-50."""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.backbones import make_dilated_stages

resnet = get_config("common/backbones/resnet.py")

backbone = resnet.backbone
backbone.stages = L(make_dilated_stages)(depth=50, norm="FrozenBN")
backbone.out_features = ["res5"]
in_channels = {"res5": 2048}
weights = resnet.weights
