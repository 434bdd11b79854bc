"""Deformable DETR++: the two-stage model with mixed query selection, looking forward twice, and without dropout.

The baseline of H-DETR (arXiv 2207.13080, appendix) and MS-DETR, whose released configurations fix the constants.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.selection import LearnedContent

model = get_config("common/models/deformable_detr.py").model
model.selection.content = L(LearnedContent)(
    num_queries="${..num_queries}", embed_dim="${...neck.embed_dim}", init="normal"
)
model.decoder.look_forward_twice = True
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.dropout = 0.0
    _layer.ffn_dim = 2048
