"""FocalNet-L with 3 focal levels, trained on ImageNet-22k at 384 x 384; otherwise as `focalnet_t.py`."""

from .focalnet_t import backbone

backbone.name = "focalnet_large_fl3"
backbone.options.drop_path_rate = 0.3
in_channels = {"p3": 384, "p4": 768, "p5": 1536}
stride4 = {"p2": 192}
weights = dict(
    init_checkpoint="https://github.com/microsoft/FocalNet/releases/download/v1.0.0/focalnet_large_lrf_384.pth"
)
