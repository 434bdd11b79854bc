"""ResNet-18 of basic blocks: torchvision's weights, frozen batch norms, frozen stem and res2."""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import ResNet

from querydet.config import get_config

backbone = get_config("common/backbones/resnet.py").backbone
backbone.stages = L(ResNet.make_default_stages)(depth=18, norm="FrozenBN")
in_channels = {"res3": 128, "res4": 256, "res5": 512}
stride4 = {"res2": 64}
weights = dict(init_checkpoint="https://download.pytorch.org/models/resnet18-f37072fd.pth")
