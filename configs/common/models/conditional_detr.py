"""Conditional DETR (arXiv 2108.06152): dense attention over the last backbone map, one stage, no box refinement.

The constants are those of the released code that Group DETR's is a branch of.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.decoder import ConditionalDecoder, conditional_decoder_layer
from querydet.modeling.encoder import DenseEncoder, dense_encoder_layer
from querydet.modeling.layers import SinePositionEmbedding
from querydet.modeling.neck import SingleMapNeck
from querydet.modeling.selection import LearnedQueriesWithPoints

model = get_config("common/models/deformable_detr_one_stage.py").model
model.backbone.out_features = ["res5"]
model.neck = L(SingleMapNeck)(
    in_channels={"res5": 2048},
    num_levels=1,
    embed_dim=256,
    position_embedding=L(SinePositionEmbedding)(embed_dim="${..embed_dim}", temperature=10000.0, offset=0.0),
)
model.encoder = L(DenseEncoder)(
    num_layers=6,
    activation_checkpointing=False,
    layer=L(dense_encoder_layer)(embed_dim="${...neck.embed_dim}", num_heads=8, ffn_dim=2048, dropout=0.1),
)
model.selection = L(LearnedQueriesWithPoints)(num_queries=300, embed_dim="${..neck.embed_dim}", repeats=1)
model.decoder = L(ConditionalDecoder)(
    num_layers=6,
    activation_checkpointing=False,
    layer=L(conditional_decoder_layer)(embed_dim="${...neck.embed_dim}", num_heads=8, ffn_dim=2048, dropout=0.1),
)
model.heads.share_layers = True
model.heads.initial_size_logit = 0.0
