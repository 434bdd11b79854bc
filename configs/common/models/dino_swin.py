"""DINO with 4 scales on Swin-L: three maps of the backbone and one extra level."""

from querydet.config import get_config

model = get_config("common/models/dino.py").model
model.backbone = get_config("common/backbones/swin.py").backbone
model.neck.in_channels = {"p1": 384, "p2": 768, "p3": 1536}
