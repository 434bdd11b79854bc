"""Group DETR (arXiv 2207.13085) on Deformable DETR++: 11 groups of queries in training, one at inference."""

from querydet.config import get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.selection import GroupedTopKSelection

model = get_config("common/models/deformable_detr_pp.py").model
model._target_ = GroupDETR
model.selection._target_ = GroupedTopKSelection
model.selection.num_groups = 11
model.selection.source = "per_set"
