"""Group DETR, table 7 (b), naive one-to-many assignment: 3300 queries, and every object is offered 11 times."""

from .conditional_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_queries = 3300
model.selection.repeats = 11
train.output_dir = "output/conditional_detr_r50_naive_12ep"
