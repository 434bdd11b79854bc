"""Deformable DETR++ with masks from attention maps, the baseline of Mr. DETR's repository.

Its head puts the attention maps beside the encoded level, and has losses at points on the last layer.
"""

from querydet.config import get_config

_masks = get_config("common/models/masks/attention_map.py").masks
_losses = get_config("common/models/masks/dot_product.py").losses

model = get_config("common/models/deformable_detr_pp.py").model
model.masks = _masks
model.masks.head.source = "encoded"
model.masks.paste.resize = "bilinear"
model.criterion.rules.decoder.losses.update(_losses)
model.criterion.rules.decoder.losses.dice.weight = 2.0
