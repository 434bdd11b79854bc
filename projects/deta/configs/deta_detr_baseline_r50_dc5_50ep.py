"""DETR-DC5 with two stages, matched one to one in both: the improved baseline of DETR (DETA, table 1)."""

from querydet.config import get_config

from .deta_detr_r50_dc5_50ep import dataloader, lr_multiplier, model, optimizer, train

_two_stage = get_config("common/models/deformable_detr.py").model
model.criterion.rules.decoder = _two_stage.criterion.rules.decoder
model.postprocess = _two_stage.postprocess
train.output_dir = "output/deta_detr_baseline_r50_dc5_50ep"
