"""H-DETR, Swin-L with windows of 7, 900 + 1500 queries, 12 epochs."""

from .h_detr_swin_l_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.selection.num_queries = 900
train.output_dir = "output/h_detr_swin_l_900q_12ep"
