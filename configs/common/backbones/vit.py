"""ViT-B of `vit_b.py`, under its first name."""

from .vit_b import backbone, in_channels, stride4, weights
