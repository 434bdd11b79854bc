"""Group DETR (arXiv 2207.13085) on Deformable DETR++: 11 groups of queries in training, one at inference."""

from detectron2.config import LazyCall as L

from querydet.config import deeper, get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.selection import GroupedSelection

model = get_config("common/models/deformable_detr_pp.py").model
model._target_ = GroupDETR
model.selection = L(GroupedSelection)(selection=deeper(model.selection), num_groups=11, source="per_set", separate=True)
