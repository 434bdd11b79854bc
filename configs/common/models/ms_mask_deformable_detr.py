"""MS-DETR on Mask-Deformable-DETR (arXiv 2401.03989, table 7).

One-to-many predictions have no masks: the repository's losses of theirs have no weight. The switch is
`model.masks.branches`, with losses of masks in the rule `one_to_many`.
"""

from querydet.config import get_config

_mask = get_config("common/models/masks/attention_map.py")

model = get_config("common/models/ms_detr_plain.py").model
model.masks = _mask.masks
model.criterion.rules.decoder.losses.update(_mask.losses)
