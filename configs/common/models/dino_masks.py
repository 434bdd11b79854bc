"""DINO with masks as products of queries and pixels; denoising queries have none.

Class losses weigh 4 times as much as in DINO: beside the losses of masks those would be learned late.
"""

from querydet.config import get_config

_mask = get_config("common/models/masks/dot_product.py")

model = get_config("common/models/dino.py").model
model.backbone.out_features = ["res2", "res3", "res4", "res5"]
model.masks = _mask.masks
model.criterion.rules.decoder.losses.update(_mask.losses)
for _rule in model.criterion.rules.values():
    _rule.losses["class"].weight = 4.0
