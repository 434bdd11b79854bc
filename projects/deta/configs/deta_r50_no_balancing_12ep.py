"""DETA without object balancing: every positive query of an object is trained to find it; R50, 12 epochs."""

from .deta_r50_300q_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

for _rule in model.criterion.rules.values():
    _rule.assigner.max_queries = 1000
train.output_dir = "output/deta_r50_no_balancing_12ep"
