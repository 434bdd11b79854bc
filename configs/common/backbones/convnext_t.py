"""ConvNeXt-T (arXiv 2201.03545) of timm, trained on ImageNet-1k at 224 x 224, with a norm on every map.

Drop path is 0 and layer scale 1 as in detrex's DINO. Batches are padded to multiples of 32; detrex pads to the largest
image and lets the last rows and columns go, as `pad_to_divisor=False` does.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.backbones.normed import NormedTimmBackbone

backbone = L(NormedTimmBackbone)(
    name="convnext_tiny",
    out_features=["p3", "p4", "p5"],
    options={"drop_path_rate": 0.0, "ls_init_value": 1.0},
)
in_channels = {"p3": 192, "p4": 384, "p5": 768}
stride4 = {"p2": 96}
weights = dict(init_checkpoint="https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224_ema.pth")
