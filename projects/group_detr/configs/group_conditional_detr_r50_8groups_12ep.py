"""Figure 9 of Group DETR, the number of groups: 8 on Conditional DETR, R50, 12 epochs."""

from .group_conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_groups = 8
train.output_dir = "output/group_conditional_detr_r50_8groups_12ep"
