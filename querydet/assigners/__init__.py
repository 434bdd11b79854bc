"""Assigners decide which queries are responsible for which objects."""

from querydet.assigners.host import Assigner, HostAssigner
from querydet.assigners.hungarian import HungarianAssigner
from querydet.assigners.iou import IoUAssigner
from querydet.assigners.known import KnownAssigner
from querydet.assigners.one_to_many import OneToManyAssigner

__all__ = ["Assigner", "HostAssigner", "HungarianAssigner", "IoUAssigner", "KnownAssigner", "OneToManyAssigner"]
