"""Layers shared by every detector: the deformable attention operator, the module around it, and small blocks."""

from querydet.layers.deformable_attention import MultiScaleDeformableAttention
from querydet.layers.dropout import Dropout
from querydet.layers.feed_forward import FeedForward, PReLUFeedForward, make_feed_forward
from querydet.layers.mlp import MLP, xavier_mlp
from querydet.layers.ms_deform_attn import multi_scale_deformable_attention
from querydet.layers.ms_deform_attn_fused import fused_deformable_attention
from querydet.layers.multi_head import check_heads, multi_head_attention
from querydet.layers.position_embedding import SinePositionEmbedding

__all__ = [
    "MLP",
    "Dropout",
    "FeedForward",
    "MultiScaleDeformableAttention",
    "PReLUFeedForward",
    "SinePositionEmbedding",
    "check_heads",
    "fused_deformable_attention",
    "make_feed_forward",
    "multi_head_attention",
    "multi_scale_deformable_attention",
    "xavier_mlp",
]
