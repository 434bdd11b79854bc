"""MS-DETR, nearer to its paper: the union with the one-to-one match, nothing forced, nothing random."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

_one_to_one, _one_to_many = model.criterion.rules.decoder, model.criterion.rules.one_to_many
_one_to_many.assigner.alpha = 0.4
_one_to_many.assigner.forced = False
_one_to_many.assigner.positive_fraction = None
_one_to_many.assigner.merge_with = _one_to_one.assigner
train.output_dir = "output/ms_detr_r50_union_12ep"
