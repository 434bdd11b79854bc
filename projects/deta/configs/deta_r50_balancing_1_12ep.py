"""DETA, table 8: object balancing with at most 1 query of an object; R50, 12 epochs."""

from .deta_r50_300q_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

for _rule in model.criterion.rules.values():
    _rule.assigner.max_queries = 1
train.output_dir = "output/deta_r50_balancing_1_12ep"
