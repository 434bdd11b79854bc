"""Deformable DETR++ on LVIS v1, R50, 180,000 iterations: the baseline of H-DETR there (H-Detic-LVIS).

Differences from the released code, which are errors there: losses of the encoder have their weights 2, 5 and 2, and not
1; classes are drawn for each image and once for all layers (`FederatedFocalLoss`), and not for each process and layer.
"""

from querydet.config import get_config

_lvis, _federated = get_config("common/lvis_180k.py"), get_config("common/losses.py").federated
dataloader, optimizer, lr_multiplier, train = _lvis.dataloader, _lvis.optimizer, _lvis.lr_multiplier, _lvis.train
model = get_config("common/models/deformable_detr_pp.py").model

model.num_classes = 1203
model.encoder.layer.ffn_dim = model.decoder.layer.ffn_dim = 1024
for _rule in model.criterion.rules.values():
    _rule.losses["class"] = _federated
model.postprocess.num_detections = 300
train.output_dir = "output/deformable_detr_pp_lvis_r50_180k"
