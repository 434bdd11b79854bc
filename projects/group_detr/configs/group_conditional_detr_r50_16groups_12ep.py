"""Figure 9 of Group DETR, the number of groups: 16 on Conditional DETR, R50, 12 epochs."""

from .group_conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_groups = 16
train.output_dir = "output/group_conditional_detr_r50_16groups_12ep"
