"""Denoising: extra queries for training that start from noised objects."""

from querydet.modeling.queries.contrastive_denoising import ContrastiveDenoising
from querydet.modeling.queries.denoising import Denoising
from querydet.modeling.queries.denoising_groups import FixedGroups, GroupsPerImage, GroupsPerProcess
from querydet.modeling.queries.grouped_denoising import GroupedDenoising

__all__ = [
    "ContrastiveDenoising",
    "Denoising",
    "FixedGroups",
    "GroupedDenoising",
    "GroupsPerImage",
    "GroupsPerProcess",
]
