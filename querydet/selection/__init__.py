"""Where the primary queries of the decoder come from."""

from querydet.selection.content import LearnedContent, ProjectedFeatures, SelectedFeatures
from querydet.selection.learned import LearnedAnchors, LearnedPoints
from querydet.selection.nms import NMSSelection
from querydet.selection.proposals import ProposalHead, anchor_tokens
from querydet.selection.topk import TopKSelection

__all__ = [
    "LearnedAnchors",
    "LearnedContent",
    "LearnedPoints",
    "NMSSelection",
    "ProjectedFeatures",
    "ProposalHead",
    "SelectedFeatures",
    "TopKSelection",
    "anchor_tokens",
]
