"""Deformable DETR with box refinement and learned reference points, R50, 50 epochs."""

from querydet.config import get_config

from .deformable_detr_r50_two_stage_50ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/deformable_detr_one_stage.py").model

optimizer.lr_factors = {"backbone": 0.1, "sampling_offsets": 0.1, "reference_points": 0.1}
train.output_dir = "output/deformable_detr_r50_refine_50ep"
