"""DETA's improved baseline on LVIS v1, R50, 180,000 iterations (table 1).

The settings are those of Detic, whose code DETA's authors changed for LVIS; they released neither code nor settings. So
the class loss has the weight 2, where DETA has 1 on COCO.
"""

from querydet.config import get_config

_lvis, _federated = get_config("common/lvis_180k.py"), get_config("common/losses.py").federated
dataloader, optimizer, lr_multiplier, train = _lvis.dataloader, _lvis.optimizer, _lvis.lr_multiplier, _lvis.train
model = get_config("common/models/deta_baseline.py").model

model.num_classes = 1203
for _rule in model.criterion.rules.values():
    _rule.losses["class"] = _federated
model.postprocess.num_detections = 300
train.output_dir = "output/deta_baseline_lvis_r50_180k"
