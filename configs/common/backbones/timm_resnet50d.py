"""An example of any network of timm: ResNet-50-D (arXiv 1812.01187), frozen batch norms, stem and first stage.

`options` are further arguments of the network. The weights are timm's own, under its own names.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.backbones.timm import TimmBackbone

backbone = L(TimmBackbone)(
    name="resnet50d.ra2_in1k",
    out_features=["p3", "p4", "p5"],
    norm="FrozenBN",
    freeze=["conv1", "bn1", "layer1"],
    options={},
)
in_channels = {"p3": 512, "p4": 1024, "p5": 2048}
stride4 = {"p2": 256}
weights = dict(
    init_checkpoint=(
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/resnet50d_ra2-464e36ba.pth"
    )
)
