"""DN-DETR (arXiv 2203.01305) with a deformable encoder and DAB-DETR's decoder of standard attention over four levels.

DINO's tables (arXiv 2203.03605) call it DN-Deformable-DETR. The constants are those of the released code, model
"deformable encoder only", as its commands set them: three contents for each box, ReLU.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.decoder import levelwise_decoder_layer

_deformable = get_config("common/models/dn_detr.py").model

model = get_config("common/models/dn_dab_detr.py").model
model.backbone = _deformable.backbone
model.neck = _deformable.neck
model.neck.conv_init = "torch"
model.neck.position_embedding.temperature = 20.0
model.neck.position_embedding.offset = 0.0
model.encoder = _deformable.encoder
model.encoder.layer.activation = "relu"
model.selection.num_patterns = 3
model.selection.shared_content = True
model.decoder.layer = L(levelwise_decoder_layer)(
    embed_dim="${...neck.embed_dim}",
    num_heads=8,
    ffn_dim=2048,
    dropout=0.0,
    activation="relu",
    num_levels="${...neck.num_levels}",
)
model.heads.zero_box_head = False
