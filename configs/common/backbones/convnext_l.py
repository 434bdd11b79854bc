"""ConvNeXt-L, trained on ImageNet-1k at 384 x 384, otherwise as `convnext_t.py`."""

from .convnext_t import backbone

backbone.name = "convnext_large"
in_channels = {"p3": 384, "p4": 768, "p5": 1536}
stride4 = {"p2": 192}
weights = dict(init_checkpoint="https://dl.fbaipublicfiles.com/convnext/convnext_large_1k_384.pth")
