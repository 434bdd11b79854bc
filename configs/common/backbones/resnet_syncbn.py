"""ResNet-50 whose batch norms are trained, with statistics over all processes; nothing is frozen.

The same lines make other ResNets so. On one process these are ordinary batch norms.
"""

from .resnet import backbone, in_channels, stride4, weights

backbone.stem.norm = backbone.stages.norm = "SyncBN"
backbone.freeze_at = 0
