"""ConvNeXt-B, trained on ImageNet-1k at 384 x 384, otherwise as `convnext_t.py`."""

from .convnext_t import backbone

backbone.name = "convnext_base"
in_channels = {"p3": 256, "p4": 512, "p5": 1024}
stride4 = {"p2": 128}
weights = dict(init_checkpoint="https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_384.pth")
