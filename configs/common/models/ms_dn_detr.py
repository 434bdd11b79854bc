"""MS-DETR with DN-DETR: one-to-many supervision of the matching queries, beside denoising ones (arXiv 2401.03989).

The paper's table 2 does it on the dense DN-DETR; this is the deformable one.
"""

from querydet.config import get_config
from querydet.modeling.meta_arch import MSDETR

_ms = get_config("common/models/ms_detr.py").model

model = get_config("common/models/dn_detr.py").model
model._target_ = MSDETR
model.decoder.layer.order = _ms.decoder.layer.order
model.decoder.layer.one_to_many = _ms.decoder.layer.one_to_many
model.criterion.rules.one_to_many = _ms.criterion.rules.one_to_many
