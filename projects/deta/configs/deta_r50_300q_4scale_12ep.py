"""DETA as its ablations train it, in the default setting of Deformable DETR (section 5.1); R50, 12 epochs.

That is 300 queries, 4 levels, feed-forward blocks of width 1024 with dropout 0.1, and a class loss of weight 2.
"""

from .deta_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.neck.num_levels = 4
model.selection.num_queries = 300
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.dropout = 0.1
    _layer.ffn_dim = 1024
for _rule in model.criterion.rules.values():
    _rule.losses["class"].weight = 2.0
train.output_dir = "output/deta_r50_300q_4scale_12ep"
