"""DN-DETR (arXiv 2203.01305) on DAB-DETR with dense attention: training also reconstructs noised objects.

The constants are those of the released code, model "DN-DAB-DETR". Its label table has a row "unknown", the content of
all matching queries, which is the one pattern of ``model.selection`` here.
"""

from querydet.config import get_config
from querydet.modeling.meta_arch import DNDETR

_deformable = get_config("common/models/dn_detr.py").model

model = get_config("common/models/dab_detr.py").model
model._target_ = DNDETR
model.selection.num_patterns = 1
model.selection.indicator = True
model.denoising = _deformable.denoising
model.denoising.num_embeddings = "${..num_classes}"
model.criterion = _deformable.criterion
