"""The attentions of decoder layers: among queries, and from queries to tokens.

Each class adds to a layer the method `attend`, which `querydet.modeling.decoder.layer.DecoderLayer` calls. Letters are
those of `querydet.structures`.
"""

import torch.nn.functional as F
from torch import Tensor

from querydet.modeling.decoder.group_attention import AttentionPlan
from querydet.modeling.layers import MultiHeadAttention, MultiScaleDeformableAttention
from querydet.modeling.layers.conditional_attention import ConditionalCrossAttention, ConditionalSelfAttention
from querydet.modeling.layers.levelwise_attention import LevelwiseCrossAttention
from querydet.structures import TokenPyramid


class SelfAttention(MultiHeadAttention):
    """Attention among queries that adds positions to contents (DETR, and all deformable decoders)."""

    def attend(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        """Return the update (B, Q, C) of contents (B, Q, C) at positions (B, Q, C)."""
        width = self.embed_dim
        at_positions = F.linear(content + position, self.in_proj_weight[: 2 * width], self.in_proj_bias[: 2 * width])
        query, key = at_positions.chunk(2, dim=-1)
        value = F.linear(content, self.in_proj_weight[2 * width :], self.in_proj_bias[2 * width :])
        query, key, value = (
            values.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for values in (query, key, value)
        )
        mixed = plan.mix(query, key, value, self.dropout if self.training else 0.0)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class CrossAttention(MultiHeadAttention):
    """Attention of queries to all tokens of one map that adds positions on both sides (DETR)."""

    references = "none"

    def attend(self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid) -> Tensor:
        """Return the update (B, Q, C) of contents (B, Q, C) at positions (B, Q, C); the reference is not used."""
        query, key = content + position, memory.tokens + memory.position
        return self(query, key, memory.tokens, key_padding_mask=memory.padding, need_weights=False)[0]


class DeformableCrossAttention(MultiScaleDeformableAttention):
    """Attention of queries to a few points of every level (Deformable DETR)."""

    references = "places"

    def attend(self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C).
            position: (B, Q, C).
            reference: (B, Q, L, 4) boxes or (B, Q, L, 2) points, relative to each padded level.
            memory: encoded image features.
        """
        assert reference is not None
        return self(content + position, reference, memory.tokens, memory.shapes, memory.padding)


class ClippedCrossAttention(DeformableCrossAttention):
    """Attention of queries to a few points of every level, none of which lies outside of the query's box.

    Without self-attention, queries still meet where they sample the same pixels; DETA (arXiv 2212.06137, footnote 3)
    rules that out so.
    """

    def attend(self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid) -> Tensor:
        """Return the update (B, Q, C) of the contents; the arguments are those of `DeformableCrossAttention.attend`.

        Raises:
            ValueError: the queries have reference points and no boxes.
        """
        if reference is not None and reference.shape[-1] != 4:
            raise ValueError(
                "ClippedCrossAttention keeps sampling points inside of boxes, but the queries have reference points: "
                "select boxes, or use DeformableCrossAttention"
            )
        return super().attend(content, position, reference, memory)

    def predict_points(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return offsets (B, Q, M, L, P, 2) within the box and logits (B, Q, M, L, P) of queries (B, Q, C)."""
        offsets, logits = super().predict_points(query)
        # an offset of P is half of the box's width or height
        return offsets.clamp(-self.num_points, self.num_points), logits


class ConditionalQueryAttention(ConditionalSelfAttention):
    """Attention among queries whose contents and positions have projections of their own (Conditional DETR)."""

    def attend(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        """Return the update (B, Q, C) of contents (B, Q, C) at positions (B, Q, C)."""
        mixed = plan.mix(*self.project(position, content), self.dropout if self.training else 0.0)
        return self.output(mixed.transpose(1, 2).flatten(2))


class ConditionalTokenAttention(ConditionalCrossAttention):
    """Attention of queries to all tokens of one map that compares contents and positions side by side."""

    references = "embedded"

    def attend(self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C).
            position: (B, Q, C).
            reference: (B, Q, C), the embedded reference point, or centre of the box, of each query.
            memory: encoded image features.
        """
        assert reference is not None
        return self(content, position, reference, memory)


class LevelwiseTokenAttention(LevelwiseCrossAttention):
    """Attention of queries to all tokens of several levels, each with a softmax of its own."""

    references = "embedded"

    def attend(
        self,
        content: Tensor,
        position: Tensor,
        reference: Tensor | None,
        memory: TokenPyramid,
        level_scores: Tensor | None = None,
    ) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C).
            position: (B, Q, C).
            reference: (B, Q, C), the embedded reference point, or centre of the box, of each query.
            memory: encoded image features.
            level_scores: (B, Q, L), whose softmax weighs the levels for each query; None: levels count alike.
        """
        assert reference is not None
        return self(content, position, reference, memory, level_scores)
