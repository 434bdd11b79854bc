"""Group DETR (arXiv 2207.13085) on DAB-DETR with dense attention: 11 groups of learned boxes in training."""

from querydet.config import get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.selection import GroupedPatternAnchors

model = get_config("common/models/dab_detr.py").model
model._target_ = GroupDETR
model.selection._target_ = GroupedPatternAnchors
model.selection.num_groups = 11
