"""MS-DETR without the auxiliary FFN: the heads read the output of the cross-attention itself."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.layer.one_to_many.ffn = None
train.output_dir = "output/ms_detr_r50_no_aux_ffn_12ep"
