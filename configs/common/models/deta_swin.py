"""DETA with 5 levels on Swin-L: three maps of the backbone and two extra levels, drop path 0.3 (released code)."""

from querydet.config import get_config

model = get_config("common/models/deta.py").model
model.backbone = get_config("common/backbones/swin.py").backbone
model.backbone.drop_path_rate = 0.3
model.neck.in_channels = {"p1": 384, "p2": 768, "p3": 1536}
