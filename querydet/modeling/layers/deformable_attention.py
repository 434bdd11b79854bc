"""Multi-scale deformable attention as a module.

Source: Deformable DETR (arXiv 2010.04159), section 4.1 and appendix A.2 ("Constructing Multi-scale Feature Maps" and
initialisation); DINO (arXiv 2203.03605) uses it unchanged. Different from the released code, coordinates and the
softmax stay float32 under autocast.

Letters are those of `querydet.structures`, with D = C / M.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from querydet.modeling.layers.multi_head import check_heads
from querydet.modeling.layers.padding import BlankPadding
from querydet.ops.fused import fused_deformable_attention
from querydet.ops.sampling_operator import LevelShapes, as_level_shapes


class MultiScaleDeformableAttention(nn.Module):
    """Attention of queries to a few points of every level, whose offsets and weights each query predicts.

    Args:
        embed_dim: width C of queries and tokens.
        num_heads: M; divides C.
        num_levels: L.
        num_points: P, the number of sampling points of a head on each level.

    Raises:
        ValueError: C is not a multiple of M.
    """

    def __init__(self, embed_dim: int = 256, num_heads: int = 8, num_levels: int = 4, num_points: int = 4) -> None:
        super().__init__()
        check_heads(embed_dim, num_heads)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        points = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(embed_dim, points * 2)
        self.attention_weights = nn.Linear(embed_dim, points)
        self.value_proj = nn.Linear(embed_dim, embed_dim)
        self.output_proj = nn.Linear(embed_dim, embed_dim)
        self.blank = BlankPadding(dim=2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set offsets of 1, 2, ... P pixels in M directions, and equal weights for all points (appendix A.2)."""
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        # divided by the larger component, so that the first ring lies on the square around the reference point
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        ring = directions[:, None, None, :] * steps[:, None]  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(ring.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        reference_boxes: Tensor,
        tokens: Tensor,
        spatial_shapes: Sequence[tuple[int, int]] | Tensor,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attend from each query to the tokens around its reference.

        Args:
            query: (B, Q, C), contents plus positions.
            reference_boxes: (B, Q, L, 2) points (x, y) or (B, Q, L, 4) boxes (cx, cy, w, h), normalised by the size
                of each level, padding included.
            tokens: (B, S, C), the levels one after the other.
            spatial_shapes: (H, W) of each level; Python integers, or an int64 tensor (L, 2).
            padding: (B, S) bool, True = padding. The value of such a token is zero after the projection; the attention
                weights are not normalised again.

        Returns:
            The update (B, Q, C) of the queries.

        Raises:
            ValueError: the shapes do not fit together.
        """
        shapes = as_level_shapes(spatial_shapes)
        self._check(query, reference_boxes, tokens, shapes, padding)
        value = self.value_proj(tokens)
        if padding is not None:
            value = self.blank(value, padding)
        value = value.unflatten(-1, (self.num_heads, self.embed_dim // self.num_heads))
        offsets, logits = self.predict_points(query)
        # Coordinates are never 16 bit: the operator takes references in float32 beside 16-bit values.
        reference = reference_boxes.to(torch.promote_types(value.dtype, torch.float32))
        return self.output_proj(fused_deformable_attention(value, shapes, reference, offsets, logits))

    def predict_points(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return offsets (B, Q, M, L, P, 2) and logits (B, Q, M, L, P) of the points that queries (B, Q, C) sample."""
        shape = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*shape, 2))
        return offsets, self.attention_weights(query).unflatten(-1, shape)

    def _check(
        self, query: Tensor, reference_boxes: Tensor, tokens: Tensor, shapes: LevelShapes, padding: Tensor | None
    ) -> None:
        if len(shapes) != self.num_levels:
            raise ValueError(f"this module has {self.num_levels} levels, but got {len(shapes)} spatial_shapes {shapes}")
        for name, tensor in (("query", query), ("tokens", tokens)):
            if tensor.dim() != 3 or tensor.shape[-1] != self.embed_dim:
                raise ValueError(f"{name} must end in embed_dim {self.embed_dim}, but got shape {tuple(tensor.shape)}")
        expected = (*query.shape[:2], self.num_levels)
        if reference_boxes.shape[:-1] != expected or reference_boxes.shape[-1] not in (2, 4):
            raise ValueError(
                f"reference_boxes must be {expected} + (2,) or (4,), but got shape {tuple(reference_boxes.shape)}"
            )
        if padding is not None and (padding.shape != tokens.shape[:2] or padding.dtype != torch.bool):
            raise ValueError(
                f"padding must be bool of shape {tuple(tokens.shape[:2])}, but got {padding.dtype} of shape "
                f"{tuple(padding.shape)}"
            )
