"""Table 7 of Group DETR, groups without separate self-attention (arXiv 2207.13085: 34.8 AP, 37.6 with it)."""

from .group_conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.separate = False
train.output_dir = "output/group_conditional_detr_r50_joint_12ep"
