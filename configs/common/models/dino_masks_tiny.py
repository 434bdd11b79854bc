"""DINO with masks in miniature: every part of the real one, on a narrow ResNet that trains from scratch on a CPU."""

from querydet.config import get_config
from querydet.config.miniature import shrink

model = shrink(get_config("common/models/dino_masks.py").model)
