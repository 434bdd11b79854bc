"""Table 7 of Group DETR, naive one-to-many assignment: every object is offered to 11 of Conditional DETR's queries."""

from .conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.repeats = 11
train.output_dir = "output/conditional_detr_r50_naive_12ep"
