"""Assigners decide which queries are responsible for which objects."""

from querydet.modeling.assigners.copies import Copies
from querydet.modeling.assigners.host import HostAssigner
from querydet.modeling.assigners.hungarian import HungarianAssigner
from querydet.modeling.assigners.iou import IoUAssigner
from querydet.modeling.assigners.known import KnownAssigner
from querydet.modeling.assigners.one_to_many import OneToManyAssigner
from querydet.modeling.assigners.raised_threshold import RaisedThresholdAssigner
from querydet.modeling.assigners.union import UnionAssigner

__all__ = [
    "Copies",
    "HostAssigner",
    "HungarianAssigner",
    "IoUAssigner",
    "KnownAssigner",
    "OneToManyAssigner",
    "RaisedThresholdAssigner",
    "UnionAssigner",
]
