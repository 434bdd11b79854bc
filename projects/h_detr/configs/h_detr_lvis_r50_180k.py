"""H-DETR on LVIS v1, R50, 180,000 iterations: 900 more queries, every object offered 5 times (H-Detic-LVIS).

Differences from the released code, beside those of its baseline: that code does not read its option K_ONE2MANY. It
offers each object 900 times, so that every further query has an object, and divides their losses by as much.
"""

from querydet.config import get_config

from .deformable_detr_pp_lvis_r50_180k import _federated, dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/h_detr.py").model

model.num_classes = 1203
model.selection.extra_queries, model.selection.repeats = 900, 5
model.encoder.layer.ffn_dim = model.decoder.layer.ffn_dim = 1024
for _rule in model.criterion.rules.values():
    _rule.losses["class"] = _federated
model.postprocess.num_detections = 300
train.output_dir = "output/h_detr_lvis_r50_180k"
