"""DETA as its ablations train it: 300 queries, 4 levels, the feed-forward width of Deformable DETR; R50, 12 epochs."""

from .deta_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.neck.num_levels = 4
model.selection.num_queries = 300
model.encoder.layer.ffn_dim = model.decoder.layer.ffn_dim = 1024
train.output_dir = "output/deta_r50_300q_4scale_12ep"
