"""DETR-DC5 with DETA's second stage without object balancing (DETA, table 1)."""

from .deta_detr_r50_dc5_50ep import dataloader, lr_multiplier, model, optimizer, train

model.criterion.rules.decoder.assigner.max_queries = 1000
train.output_dir = "output/deta_detr_no_balancing_r50_dc5_50ep"
