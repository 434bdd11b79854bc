"""Figure 9 of Group DETR, the number of groups: 4 on Conditional DETR, R50, 12 epochs."""

from .group_conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_groups = 4
train.output_dir = "output/group_conditional_detr_r50_4groups_12ep"
