"""Where the primary queries of the decoder come from."""

from querydet.selection.initial import InitialQueries, ProposalPredictions
from querydet.selection.learned import LearnedPoints
from querydet.selection.proposals import ProposalHead
from querydet.selection.topk import LearnedContent, TopKSelection

__all__ = ["InitialQueries", "LearnedContent", "LearnedPoints", "ProposalHead", "ProposalPredictions", "TopKSelection"]
