"""DETA with assignment by equation 4 as the paper writes it, in place of the released rule; R50, 12 epochs."""

from detectron2.config import LazyCall as L

from querydet.modeling.assigners import RaisedThresholdAssigner

from .deta_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

_rules = model.criterion.rules
_rules.decoder.assigner = L(RaisedThresholdAssigner)(
    threshold=0.6, max_queries=4, positive_fraction=0.25, num_samples=None, iou_eps=0.0
)
_rules.encoder.assigner = L(RaisedThresholdAssigner)(
    threshold=0.7, max_queries=None, positive_fraction=0.5, num_samples=256, iou_eps=0.0
)
train.output_dir = "output/deta_equation4_12ep"
