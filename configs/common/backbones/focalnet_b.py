"""FocalNet-B, as `focalnet_t.py`."""

from .focalnet_t import backbone

backbone.name = "focalnet_base_lrf"
in_channels = {"p3": 256, "p4": 512, "p5": 1024}
stride4 = {"p2": 128}
weights = dict(init_checkpoint="https://github.com/microsoft/FocalNet/releases/download/v1.0.0/focalnet_base_lrf.pth")
