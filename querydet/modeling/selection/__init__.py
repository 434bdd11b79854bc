"""Where the queries of the decoder come from: learned tables, or the best tokens of the image."""

from querydet.modeling.selection.content import BoxEmbedding, LearnedContent, ProjectedFeatures, SelectedFeatures
from querydet.modeling.selection.dense_learned import (
    GroupedLearnedPositions,
    GroupedPatternAnchors,
    GroupedPositionalQueries,
    GroupedPositions,
    LearnedBoxesWithPatterns,
    LearnedQueries,
    LearnedQueriesWithPoints,
)
from querydet.modeling.selection.grouped import GroupedAnchors, GroupedLearnedAnchors, GroupedTopKSelection
from querydet.modeling.selection.hybrid import HybridTopKSelection
from querydet.modeling.selection.learned import LearnedBoxes, LearnedPoints
from querydet.modeling.selection.nms import NMSSelection
from querydet.modeling.selection.proposals import ProposalHead, anchor_tokens
from querydet.modeling.selection.topk import TopKSelection

__all__ = [
    "BoxEmbedding",
    "GroupedAnchors",
    "GroupedLearnedAnchors",
    "GroupedLearnedPositions",
    "GroupedPatternAnchors",
    "GroupedPositionalQueries",
    "GroupedPositions",
    "GroupedTopKSelection",
    "HybridTopKSelection",
    "LearnedBoxes",
    "LearnedBoxesWithPatterns",
    "LearnedContent",
    "LearnedPoints",
    "LearnedQueries",
    "LearnedQueriesWithPoints",
    "NMSSelection",
    "ProjectedFeatures",
    "ProposalHead",
    "SelectedFeatures",
    "TopKSelection",
    "anchor_tokens",
]
