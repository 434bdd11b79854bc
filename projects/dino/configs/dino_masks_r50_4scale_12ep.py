"""DINO with masks as products of queries and pixels, R50, 4 scales, 12 epochs; nobody has published this one."""

from querydet.config import get_config

from .dino_r50_4scale_12ep import lr_multiplier, optimizer, train

dataloader = get_config("common/data/coco_instance.py").dataloader
model = get_config("common/models/dino_masks.py").model

train.checkpointer.best_metric = "segm/AP"
train.output_dir = "output/dino_masks_r50_4scale_12ep"
