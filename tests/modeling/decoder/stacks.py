"""A small decoder around any layer, with random queries and image features."""

import torch

from querydet.modeling.heads import PredictionHeads
from querydet.structures import QueryBatch, QueryGroup, TokenPyramid


def memory(images: int = 1, ratio: float = 1.0) -> TokenPyramid:
    """A map of 4x4 tokens, of which the left part of this ratio is image."""
    padding = (torch.arange(4) >= 4 * ratio).repeat(4)
    return TokenPyramid(
        tokens=torch.randn(images, 16, 32),
        position=torch.randn(images, 16, 32),
        padding=padding.expand(images, -1),
        shapes=((4, 4),),
        valid_ratios=torch.tensor([[[ratio, 1.0]]]).expand(images, -1, -1),
    )


def queries(
    number: int = 5, reference_dim: int = 4, position: bool = False, groups: tuple[QueryGroup, ...] | None = None
) -> QueryBatch:
    """Queries of one image, in one group by default."""
    return QueryBatch(
        content=torch.randn(1, number, 32),
        boxes=torch.rand(1, number, reference_dim),
        position=torch.randn(1, number, 32) if position else None,
        groups=groups or (QueryGroup("primary", 0, number),),
    )


def heads(num_layers: int) -> PredictionHeads:
    """Heads of each layer that do move boxes."""
    made = PredictionHeads(
        num_classes=2, num_layers=num_layers, share_layers=False, inverse_sigmoid_eps=1e-5, embed_dim=32
    )
    for head in made.box_heads:
        torch.nn.init.normal_(head.layers[2].weight)
    return made
