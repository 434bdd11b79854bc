"""DETA on LVIS v1 without object balancing, R50, 180,000 iterations (table 1)."""

from .deta_lvis_r50_180k import dataloader, lr_multiplier, model, optimizer, train

for _rule in model.criterion.rules.values():
    _rule.assigner.max_queries = 1000
train.output_dir = "output/deta_no_balancing_lvis_r50_180k"
