"""Dense attention over one feature map.

DETR (arXiv 2005.12872), Conditional DETR (arXiv 2108.06152), DAB-DETR (arXiv 2201.12329).
"""

from querydet.dense.attention import ConditionalCrossAttention, ConditionalSelfAttention
from querydet.dense.backbone import make_dilated_stages
from querydet.dense.decoder import (
    ConditionalDecoder,
    ConditionalDecoderLayer,
    DabDecoder,
    DetrDecoder,
    DetrDecoderLayer,
)
from querydet.dense.encoder import DenseEncoder, DenseEncoderLayer, ScaledDenseEncoder
from querydet.dense.neck import SingleMapNeck
from querydet.dense.no_object import NoObjectHeads, SoftmaxHungarianAssigner, SoftmaxLoss, SoftmaxPostprocess
from querydet.dense.queries import (
    GroupedLearnedPositions,
    GroupedPatternAnchors,
    GroupedPositionalQueries,
    GroupedPositions,
    LearnedPositions,
    PatternAnchors,
    PositionalQueries,
)

__all__ = [
    "ConditionalCrossAttention",
    "ConditionalDecoder",
    "ConditionalDecoderLayer",
    "ConditionalSelfAttention",
    "DabDecoder",
    "DenseEncoder",
    "DenseEncoderLayer",
    "DetrDecoder",
    "DetrDecoderLayer",
    "GroupedLearnedPositions",
    "GroupedPatternAnchors",
    "GroupedPositionalQueries",
    "GroupedPositions",
    "LearnedPositions",
    "NoObjectHeads",
    "PatternAnchors",
    "PositionalQueries",
    "ScaledDenseEncoder",
    "SingleMapNeck",
    "SoftmaxHungarianAssigner",
    "SoftmaxLoss",
    "SoftmaxPostprocess",
    "make_dilated_stages",
]
