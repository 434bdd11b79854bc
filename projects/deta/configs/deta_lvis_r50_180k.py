"""DETA on LVIS v1, R50, 180,000 iterations (table 1), with the settings of its baseline there."""

from querydet.config import get_config

from .deta_baseline_lvis_r50_180k import _federated, dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/deta.py").model

model.num_classes = 1203
for _rule in model.criterion.rules.values():
    _rule.losses["class"] = _federated
model.postprocess.num_detections = 300
train.output_dir = "output/deta_lvis_r50_180k"
