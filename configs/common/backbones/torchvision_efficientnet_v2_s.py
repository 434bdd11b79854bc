"""An example of any classifier of torchvision: EfficientNetV2-S (arXiv 2104.00298), batch norms trained.

The map of stride 32 is that of the last convolution. The weights are torchvision's own, under its own names.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.backbones.torchvision import TorchvisionBackbone

backbone = L(TorchvisionBackbone)(
    name="efficientnet_v2_s",
    out_features=["p3", "p4", "p5"],
    norm="BN",
    options={"stochastic_depth_prob": 0.2},
)
in_channels = {"p3": 64, "p4": 160, "p5": 1280}
stride4 = {"p2": 48}
weights = dict(init_checkpoint="https://download.pytorch.org/models/efficientnet_v2_s-dd5fe13b.pth")
