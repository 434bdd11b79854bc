"""MS-DETR with the one-to-many selection as section 3.2 writes it, with the best alpha, tau and K of figure 5."""

from detectron2.config import LazyCall as L

from querydet.modeling.assigners import UnionAssigner

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

_rules = model.criterion.rules
_rules.one_to_many.assigner = L(UnionAssigner)(
    alpha=0.4, threshold=0.4, max_queries=6, merge_with=_rules.decoder.assigner
)
train.output_dir = "output/ms_detr_r50_section3_12ep"
