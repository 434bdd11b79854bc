"""MS-DETR, table 6: the one-to-many read-out has class and box heads of its own."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.heads.separate_one_to_many = ["class", "box"]
train.output_dir = "output/ms_detr_r50_share_none_12ep"
