"""Assignment by overlap and suppression in the first stage alone, one-to-one matching in the second; R50, 12 epochs."""

from querydet.config import get_config

from .deta_baseline_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

_deta = get_config("common/models/deta.py").model
model.selection = _deta.selection
model.criterion.rules.encoder.assigner = _deta.criterion.rules.encoder.assigner
train.output_dir = "output/deta_r50_first_stage_12ep"
