"""MS-DETR, placement (a) with box losses as the paper writes them: the one-to-many ones alone.

The union of section 3.2 makes sure that the one-to-one match of each object is among them.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.assigners import UnionAssigner

from .ms_detr_r50_placement_a_12ep import dataloader, lr_multiplier, model, optimizer, train

_rules = model.criterion.rules
_rules.one_to_many.assigner = L(UnionAssigner)(
    alpha=0.4, threshold=0.4, max_queries=6, merge_with=_rules.decoder.assigner
)
_rules.decoder.losses.l1 = None
_rules.decoder.losses.giou = None
train.output_dir = "output/ms_detr_r50_placement_a_merged_12ep"
