"""DINO, table 4, row 2: an optimised DN-DETR, whose 900 queries are learned and do not come from the image."""

from detectron2.config import LazyCall as L

from querydet.modeling.selection import LearnedBoxes

from .dino_ablation_row4_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection = L(LearnedBoxes)(num_queries=900, embed_dim="${..neck.embed_dim}", indicator=False)
del model.criterion.rules.encoder
train.output_dir = "output/dino_ablation_row2_12ep"
