"""MS-DETR (arXiv 2401.03989) on two-stage Deformable DETR without the additions of its ++ variant."""

from querydet.config import get_config

model = get_config("common/models/ms_detr.py").model
model.selection.content = None
model.decoder.look_forward_twice = False
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.dropout = 0.1
