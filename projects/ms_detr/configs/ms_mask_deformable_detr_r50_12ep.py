"""MS-DETR on Mask-Deformable-DETR, R50, 300 queries, 12 epochs (arXiv 2401.03989, table 7)."""

from querydet.config import get_config

from .ms_detr_r50_12ep import lr_multiplier, optimizer, train

dataloader = get_config("common/data/coco_instance.py").dataloader
model = get_config("common/models/ms_mask_deformable_detr.py").model

train.checkpointer.best_metric = "segm/AP"
train.output_dir = "output/ms_mask_deformable_detr_r50_12ep"
