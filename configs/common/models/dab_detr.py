"""DAB-DETR (arXiv 2201.12329): dense attention over the last backbone map, queries are boxes that the layers refine.

The constants are those of the released code.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.decoder import BoxPosition, DabDecoder, conditional_decoder_layer
from querydet.modeling.encoder import ScaledDenseEncoder, dense_encoder_layer
from querydet.modeling.selection import LearnedBoxesWithPatterns

_deformable = get_config("common/models/dab_deformable_detr.py").model

model = get_config("common/models/conditional_detr.py").model
model.neck.position_embedding.temperature = 20.0
model.encoder = L(ScaledDenseEncoder)(
    num_layers=6,
    activation_checkpointing=False,
    layer=L(dense_encoder_layer)(
        embed_dim="${...neck.embed_dim}", num_heads=8, ffn_dim=2048, dropout=0.0, activation="prelu"
    ),
)
model.selection = L(LearnedBoxesWithPatterns)(
    num_queries=300, num_patterns=0, embed_dim="${..neck.embed_dim}", indicator=False
)
model.decoder = L(DabDecoder)(
    num_layers=6,
    query_position=L(BoxPosition)(embed_dim="${...neck.embed_dim}", frame="image"),
    refine_boxes=True,
    look_forward_twice=True,
    activation_checkpointing=False,
    layer=L(conditional_decoder_layer)(
        embed_dim="${...neck.embed_dim}", num_heads=8, ffn_dim=2048, dropout=0.0, activation="prelu"
    ),
)
model.heads.inverse_sigmoid_eps = 1e-3
model.criterion = _deformable.criterion
model.postprocess.num_detections = 300
