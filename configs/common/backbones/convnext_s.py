"""ConvNeXt-S, as `convnext_t.py`."""

from .convnext_t import backbone, in_channels, stride4

backbone.name = "convnext_small"
weights = dict(init_checkpoint="https://dl.fbaipublicfiles.com/convnext/convnext_small_1k_224_ema.pth")
