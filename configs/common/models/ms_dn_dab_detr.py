"""MS-DETR with DN-DETR on dense attention (arXiv 2401.03989, table 2): one-to-many supervision beside denoising.

Not released; placement (c) and the assignment of the released models.
"""

from querydet.config import get_config
from querydet.modeling.meta_arch import MSDETR

_ms_detr = get_config("common/models/ms_detr.py").model

model = get_config("common/models/dn_dab_detr.py").model
model._target_ = MSDETR
model.decoder.layer.order = _ms_detr.decoder.layer.order
model.decoder.layer.one_to_many = _ms_detr.decoder.layer.one_to_many
model.criterion.rules.one_to_many = _ms_detr.criterion.rules.one_to_many
