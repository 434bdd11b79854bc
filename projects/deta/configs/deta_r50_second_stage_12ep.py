"""Assignment by overlap and suppression in the second stage alone, one-to-one matching in the first; R50, 12 epochs."""

from querydet.config import get_config

from .deta_baseline_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

_deta = get_config("common/models/deta.py").model
model.criterion.rules.decoder = _deta.criterion.rules.decoder
model.postprocess = _deta.postprocess
train.output_dir = "output/deta_r50_second_stage_12ep"
