"""DETR with DETA's second stage (arXiv 2212.06137): assignment by overlap, and suppression of detections.

The overlap is that of the boxes that the queries start from, of which DETR's learned positions have none; the authors
say as much, and that all their experiments have two stages (a discussion in their repository). So the queries are the
best tokens of the dense encoder, assigned one to one there, and their classes have sigmoids. Not released.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.decoder import DetrDecoder, detr_decoder_layer

_deta = get_config("common/models/deta.py").model
_two_stage = get_config("common/models/deformable_detr.py").model
_dense = get_config("common/models/conditional_detr.py").model

model = _two_stage
model.backbone = _dense.backbone
model.neck = _dense.neck
model.encoder = _dense.encoder
model.decoder = L(DetrDecoder)(
    num_layers=6,
    activation_checkpointing=False,
    layer=L(detr_decoder_layer)(embed_dim="${...neck.embed_dim}", num_heads=8, ffn_dim=2048, dropout=0.1),
)
model.heads.share_layers = True
model.criterion.rules.decoder.assigner = _deta.criterion.rules.decoder.assigner
model.criterion.rules.decoder.assign_once = True
model.postprocess = _deta.postprocess
