"""Assigners decide which queries are responsible for which objects."""

from querydet.assigners.hungarian import HungarianAssigner
from querydet.assigners.known import KnownAssigner

__all__ = ["HungarianAssigner", "KnownAssigner"]
