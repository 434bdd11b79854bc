"""Group DETR (arXiv 2207.13085) on DETR: 11 groups of learned positions in training. The paper does not have it."""

from querydet.config import get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.selection import GroupedLearnedPositions

model = get_config("common/models/detr.py").model
model._target_ = GroupDETR
model.selection._target_ = GroupedLearnedPositions
model.selection.num_groups = 11
model.selection.separate = True
