"""Group DETR (arXiv 2207.13085) on DAB-Deformable-DETR: 11 groups of learned boxes in training, one at inference."""

from querydet.config import get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.selection import GroupedLearnedAnchors

model = get_config("common/models/dab_deformable_detr.py").model
model._target_ = GroupDETR
model.selection._target_ = GroupedLearnedAnchors
model.selection.num_groups = 11
