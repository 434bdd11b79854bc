"""Dense attention over one feature map: Conditional DETR (arXiv 2108.06152), the base of Group DETR's released code."""

from querydet.dense.attention import ConditionalCrossAttention, ConditionalSelfAttention
from querydet.dense.decoder import ConditionalDecoder, ConditionalDecoderLayer
from querydet.dense.encoder import DenseEncoder, DenseEncoderLayer
from querydet.dense.neck import SingleMapNeck
from querydet.dense.queries import GroupedPositionalQueries, PositionalQueries

__all__ = [
    "ConditionalCrossAttention",
    "ConditionalDecoder",
    "ConditionalDecoderLayer",
    "ConditionalSelfAttention",
    "DenseEncoder",
    "DenseEncoderLayer",
    "GroupedPositionalQueries",
    "PositionalQueries",
    "SingleMapNeck",
]
