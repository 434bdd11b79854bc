"""DINO with 5 scales: the backbone's finest map (stride 4) in addition."""

from querydet.config import get_config

model = get_config("common/models/dino.py").model
model.backbone.out_features = ["res2", "res3", "res4", "res5"]
model.neck.in_channels = {"res2": 256, "res3": 512, "res4": 1024, "res5": 2048}
model.neck.num_levels = 5
