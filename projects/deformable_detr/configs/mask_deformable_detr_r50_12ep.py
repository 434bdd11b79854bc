"""Mask-Deformable-DETR, R50, 300 queries, 12 epochs (MS-DETR, table 7)."""

from querydet.config import get_config

from .deformable_detr_r50_two_stage_12ep import lr_multiplier, optimizer, train

dataloader = get_config("common/data/coco_instance.py").dataloader
model = get_config("common/models/mask_deformable_detr.py").model

train.checkpointer.best_metric = "segm/AP"
train.output_dir = "output/mask_deformable_detr_r50_12ep"
