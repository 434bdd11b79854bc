"""Two-stage Deformable DETR, with an MLP in place of the cross-attention (table 7).

R50, 300 queries, 12 epochs; not the improved baseline.
"""

from detectron2.config import LazyCall as L

from querydet.config import get_config
from querydet.modeling.decoder import QueryMLP

from .deta_baseline_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/deformable_detr.py").model
model.decoder.layer.cross_attention = L(QueryMLP)(
    embed_dim="${..embed_dim}", hidden_dim=448, dropout="${..dropout}", add_position=True
)
train.output_dir = "output/deta_base_cross_attention_mlp_12ep"
