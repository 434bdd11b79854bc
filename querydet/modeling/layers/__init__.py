"""Layers shared by every detector: deformable attention around its operator, and small blocks."""

from querydet.modeling.layers.deformable_attention import MultiScaleDeformableAttention
from querydet.modeling.layers.dropout import Dropout
from querydet.modeling.layers.feed_forward import FeedForward, PReLUFeedForward, make_feed_forward
from querydet.modeling.layers.mlp import MLP, xavier_mlp
from querydet.modeling.layers.multi_head import check_heads, multi_head_attention
from querydet.modeling.layers.position_embedding import SinePositionEmbedding

__all__ = [
    "MLP",
    "Dropout",
    "FeedForward",
    "MultiScaleDeformableAttention",
    "PReLUFeedForward",
    "SinePositionEmbedding",
    "check_heads",
    "make_feed_forward",
    "multi_head_attention",
    "xavier_mlp",
]
