"""FocalNet-S, as `focalnet_t.py`."""

from .focalnet_t import backbone, in_channels, stride4

backbone.name = "focalnet_small_lrf"
weights = dict(init_checkpoint="https://github.com/microsoft/FocalNet/releases/download/v1.0.0/focalnet_small_lrf.pth")
