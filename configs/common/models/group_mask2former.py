"""Group DETR on Mask2Former (arXiv 2207.13085, table 6): groups of learned queries, each matched by itself.

The paper gives no number of groups for it; 11 is its default.
"""

from detectron2.config import LazyCall as L

from querydet.config import deeper, get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.selection import GroupedSelection

model = get_config("common/models/mask2former.py").model
model._target_ = GroupDETR
model.selection = L(GroupedSelection)(selection=deeper(model.selection), num_groups=11, source="per_set", separate=True)
