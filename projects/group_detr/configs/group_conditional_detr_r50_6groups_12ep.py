"""Figure 9 of Group DETR, the number of groups: 6 on Conditional DETR, R50, 12 epochs."""

from .group_conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_groups = 6
train.output_dir = "output/group_conditional_detr_r50_6groups_12ep"
