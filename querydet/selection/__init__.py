"""Where the primary queries of the decoder come from."""

from querydet.selection.content import LearnedContent, ProjectedFeatures
from querydet.selection.learned import LearnedPoints
from querydet.selection.proposals import ProposalHead
from querydet.selection.topk import TopKSelection

__all__ = [
    "LearnedContent",
    "LearnedPoints",
    "ProjectedFeatures",
    "ProposalHead",
    "TopKSelection",
]
