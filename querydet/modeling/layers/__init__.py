"""Layers that all detectors share: attentions, feed-forward blocks and position embeddings."""

from querydet.modeling.layers.deformable_attention import MultiScaleDeformableAttention
from querydet.modeling.layers.dropout import Dropout
from querydet.modeling.layers.feed_forward import FeedForward, PReLUFeedForward, make_feed_forward
from querydet.modeling.layers.mlp import MLP, xavier_mlp
from querydet.modeling.layers.multi_head import MultiHeadAttention, check_heads
from querydet.modeling.layers.position_embedding import SinePositionEmbedding

__all__ = [
    "MLP",
    "Dropout",
    "FeedForward",
    "MultiHeadAttention",
    "MultiScaleDeformableAttention",
    "PReLUFeedForward",
    "SinePositionEmbedding",
    "check_heads",
    "make_feed_forward",
    "xavier_mlp",
]
