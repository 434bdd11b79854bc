"""Mask-Deformable-DETR, the baseline of MS-DETR's table 7 (arXiv 2401.03989): masks from attention maps.

The paper gives neither the head nor its losses; both are read from the authors' repository. Feed-forward blocks have
the width of the paper's other baselines.
"""

from querydet.config import get_config

_mask = get_config("common/models/masks/attention_map.py")

model = get_config("common/models/deformable_detr.py").model
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.ffn_dim = 2048
model.masks = _mask.masks
model.criterion.rules.decoder.losses.update(_mask.losses)
