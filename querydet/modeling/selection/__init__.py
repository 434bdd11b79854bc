"""Selections: the queries of the decoder come from learned tables or from the best tokens of the image."""

from querydet.modeling.selection.content import BoxEmbedding, LearnedContent, ProjectedFeatures, SelectedFeatures
from querydet.modeling.selection.grouped import GroupedSelection
from querydet.modeling.selection.hybrid import HybridSelection
from querydet.modeling.selection.learned import (
    LearnedBoxes,
    LearnedBoxesWithPatterns,
    LearnedPoints,
    LearnedQueries,
    LearnedQueriesWithPoints,
)
from querydet.modeling.selection.learned_contents import LearnedContents
from querydet.modeling.selection.nms import NMSSelection
from querydet.modeling.selection.proposals import ProposalHead, anchor_tokens
from querydet.modeling.selection.topk import TopKSelection

__all__ = [
    "BoxEmbedding",
    "GroupedSelection",
    "HybridSelection",
    "LearnedBoxes",
    "LearnedBoxesWithPatterns",
    "LearnedContent",
    "LearnedContents",
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
