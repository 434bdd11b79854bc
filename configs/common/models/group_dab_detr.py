"""Group DETR (arXiv 2207.13085) on DAB-DETR with dense attention: 11 groups of learned boxes in training."""

from detectron2.config import LazyCall as L

from querydet.config import deeper, get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.selection import GroupedSelection

model = get_config("common/models/dab_detr.py").model
model._target_ = GroupDETR
model.selection = L(GroupedSelection)(selection=deeper(model.selection), num_groups=11, source="per_set", separate=True)
