"""MS-DETR with Group DETR on Deformable DETR++ (arXiv 2401.03989, tables 2 and 3): 5 extra groups of 300 queries.

The paper supervises the queries of the primary decoder branch one to many and says no more about extra groups;
``model.decoder.layer.one_to_many.extra_groups=True`` supervises those so too. Where their boxes come from is not said
either: here each group has a proposal head of its own, as in Group DETR.
"""

from detectron2.config import LazyCall as L

from querydet.config import deeper, get_config
from querydet.modeling.selection import GroupedSelection

model = get_config("common/models/ms_detr.py").model
model.selection = L(GroupedSelection)(selection=deeper(model.selection), num_groups=6, source="per_set", separate=True)
