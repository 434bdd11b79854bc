"""Masks of queries: the branch of a detector, heads that make masks, their losses and costs."""

from querydet.modeling.masks.attention_map import AttentionMapHead
from querydet.modeling.masks.branch import MaskBranch
from querydet.modeling.masks.costs import PointMaskCost
from querydet.modeling.masks.dot_product import PixelEmbedding
from querydet.modeling.masks.losses import DiceLoss, FocalMaskLoss, PointDiceLoss, PointMaskLoss
from querydet.modeling.masks.paste import PasteMasks

__all__ = [
    "AttentionMapHead",
    "DiceLoss",
    "FocalMaskLoss",
    "MaskBranch",
    "PasteMasks",
    "PixelEmbedding",
    "PointDiceLoss",
    "PointMaskCost",
    "PointMaskLoss",
]
