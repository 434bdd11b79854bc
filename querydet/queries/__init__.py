"""Query groups: positions, visibility, and the extra queries that training adds."""

from querydet.queries.contrastive_denoising import ContrastiveDenoising
from querydet.queries.denoising import Denoising
from querydet.queries.grouped import GroupedAnchors, GroupedDenoising, GroupedLearnedAnchors, GroupedTopKSelection
from querydet.queries.hybrid import HybridTopKSelection
from querydet.queries.position import BoxEmbedding, BoxPosition, ScaledBoxPosition

__all__ = [
    "BoxEmbedding",
    "BoxPosition",
    "ContrastiveDenoising",
    "Denoising",
    "GroupedAnchors",
    "GroupedDenoising",
    "GroupedLearnedAnchors",
    "GroupedTopKSelection",
    "HybridTopKSelection",
    "ScaledBoxPosition",
]
