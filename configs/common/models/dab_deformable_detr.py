"""DAB-Deformable-DETR: Deformable DETR whose queries start from learned boxes (DAB-DETR, arXiv 2201.12329).

One stage, with iterative box refinement; before every layer the positional queries are made from the current boxes. The
constants are those of the released code.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.decoder import ScaledBoxPosition
from querydet.modeling.selection import LearnedBoxes

model = get_config("common/models/deformable_detr_one_stage.py").model
model.selection = L(LearnedBoxes)(
    num_queries=300,
    embed_dim="${..neck.embed_dim}",
    indicator=False,
    content_init="normal",
    box_init="normal",
)
model.decoder.query_position = L(ScaledBoxPosition)(embed_dim="${...neck.embed_dim}", frame="image")
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.dropout = 0.0
    _layer.ffn_dim = 2048
model.heads.inverse_sigmoid_eps = 1e-3
_rule = model.criterion.rules.decoder
_rule.losses["class"].weight = 1.0
_rule.losses.giou.eps = _rule.assigner.giou_eps = 1e-6
