"""Group DETR (arXiv 2207.13085) on DINO: 11 groups of queries in training, each with denoising queries of its own.

It has all ideas of DINO, which `GroupDINO` checks: contrastive denoising, mixed query selection, looking forward twice.
The paper does not say which groups have denoising queries; Baidu's reproduction gives them to all of them. With DINO's
own denoising part instead, only the primary group has them.
"""

from detectron2.config import LazyCall as L

from querydet.config import deeper, get_config
from querydet.modeling.meta_arch import GroupDINO
from querydet.modeling.queries import GroupedDenoising
from querydet.modeling.selection import GroupedSelection

model = get_config("common/models/dino.py").model
model._target_ = GroupDINO
model.selection = L(GroupedSelection)(selection=deeper(model.selection), num_groups=11, source="per_set", separate=True)
model.denoising = L(GroupedDenoising)(denoising=deeper(model.denoising), num_groups="${..selection.num_groups}")
