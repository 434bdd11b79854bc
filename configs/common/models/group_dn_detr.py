"""Group DETR with DN-DETR: 11 groups of learned boxes, each with denoising queries of its own.

The paper has "dynamic denoising groups with 100 denoising queries" (arXiv 2207.13085, table 3) and does not say which
groups of queries have them; with DN-DETR's own denoising part instead, only the primary group does.
"""

from detectron2.config import LazyCall as L

from querydet.config import deeper, get_config
from querydet.modeling.meta_arch import GroupDETR
from querydet.modeling.queries import GroupedDenoising, GroupsPerImage
from querydet.modeling.selection import GroupedSelection

model = get_config("common/models/dn_detr.py").model
model._target_ = GroupDETR
model.selection = L(GroupedSelection)(selection=deeper(model.selection), num_groups=11, source="per_set", separate=True)
model.denoising.groups = L(GroupsPerImage)(num_queries=100, max_objects=None)
model.denoising.indicator = "${..selection.selection.indicator}"
model.denoising = L(GroupedDenoising)(denoising=deeper(model.denoising), num_groups="${..selection.num_groups}")
