"""FocalNet-T (arXiv 2203.11926) of timm, trained on ImageNet-1k, 3 focal levels, with a norm on every map.

Drop path is that of detrex's DINO. Batches are padded to multiples of 32, as with `convnext_t.py`.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.backbones.normed import NormedTimmBackbone

backbone = L(NormedTimmBackbone)(
    name="focalnet_tiny_lrf",
    out_features=["p3", "p4", "p5"],
    options={"drop_path_rate": 0.1},
)
in_channels = {"p3": 192, "p4": 384, "p5": 768}
stride4 = {"p2": 96}
weights = dict(init_checkpoint="https://github.com/microsoft/FocalNet/releases/download/v1.0.0/focalnet_tiny_lrf.pth")
