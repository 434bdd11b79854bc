"""Table 7 of Group DETR, groups without separate self-attention (arXiv 2207.13085)."""

from .group_conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.separate = False
train.output_dir = "output/group_conditional_detr_r50_joint_12ep"
