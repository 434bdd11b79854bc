"""DAC-DETR with denoising and the focal loss, R50, 900 queries, 12 epochs (the authors' repository).

The code of this variant is not in the repository; the weights of its losses are those of DAC-DETR as released.
"""

from detectron2.config import LazyCall as L

from querydet.modeling.losses import FocalLoss

from .dac_detr_cdn_ice_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

_rules = model.criterion.rules
for _name in ("decoder", "second_stream", "denoising", "denoising_second_stream"):
    _rules[_name].losses["class"] = L(FocalLoss)(weight=1.0, alpha=0.25, gamma=2.0)
_rules.second_stream.pair_weights = None
train.output_dir = "output/dac_detr_cdn_r50_12ep"
