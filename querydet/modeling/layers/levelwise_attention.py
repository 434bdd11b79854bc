"""Attention to the tokens of several levels, each with a softmax of its own; weights of the levels mix the results.

Source: the released code of DN-DETR (arXiv 2203.01305), model "deformable encoder only". No paper describes it. Levels
count by their weights, not by their numbers of tokens, as under one softmax over all tokens. With one level it is
`ConditionalCrossAttention`.

Letters are those of `querydet.structures`.
"""

import torch
from torch import Tensor

from querydet.modeling.layers.conditional_attention import ConditionalCrossAttention
from querydet.structures import TokenPyramid


class LevelwiseCrossAttention(ConditionalCrossAttention):
    """Conditional attention of queries to the tokens of each level separately; all levels share the projections.

    Args:
        embed_dim: width C.
        num_heads: M.
        num_levels: L.
        dropout: probability of dropping an attention weight.
        first: see `ConditionalCrossAttention`.

    Raises:
        ValueError: C is not a multiple of M, or there is less than one level.
    """

    def __init__(
        self,
        embed_dim: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        dropout: float = 0.0,
        first: bool = True,
    ) -> None:
        if num_levels < 1:
            raise ValueError(f"num_levels must be at least 1, found {num_levels}")
        super().__init__(embed_dim, num_heads, dropout, first)
        self.num_levels = num_levels

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        sine: Tensor,
        memory: TokenPyramid,
        level_scores: Tensor | None = None,
    ) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C), of the queries.
            position: (B, Q, C), of the queries; used in the first layer only.
            sine: (B, Q, C), the embedded reference points, scaled by a function of the content.
            memory: encoded image features of L levels.
            level_scores: (B, Q, L), whose softmax weighs the levels for each query; None: levels count alike.
        """
        results = self.attend_to_levels(content, position, sine, memory)
        scores = content.new_zeros(*content.shape[:2], self.num_levels) if level_scores is None else level_scores
        weighted = torch.stack(results, dim=2) * level_weights(scores, memory)[..., None]
        return self.output(weighted.sum(dim=2))  # the weights add up to one, so that the bias counts once

    def attend_to_levels(
        self, content: Tensor, position: Tensor, sine: Tensor, memory: TokenPyramid
    ) -> tuple[Tensor, ...]:
        """Return the result (B, Q, C) of each level, before the output projection.

        Where a level of an image is nothing but padding, its result has no meaning, and no weight.
        """
        query, key, value = self.project(content, position, sine, memory)
        levels = zip(
            key.split(memory.level_sizes, dim=2),
            value.split(memory.level_sizes, dim=2),
            _visible_tokens(memory),
            strict=True,
        )
        return tuple(self.attend_in_heads(query, keys, values, seen[:, None, None]) for keys, values, seen in levels)


def level_weights(level_scores: Tensor, memory: TokenPyramid) -> Tensor:
    """Return the weights (B, Q, L) of the levels, which add up to one; a level of padding only has none.

    In the released code such a level makes the result NaN.

    Args:
        level_scores: (B, Q, L).
        memory: encoded image features of L levels.
    """
    empty = torch.stack([level.all(1) for level in memory.padding.split(memory.level_sizes, dim=1)], dim=-1)
    return level_scores.masked_fill(empty[:, None], torch.finfo(level_scores.dtype).min).softmax(-1)


def _visible_tokens(memory: TokenPyramid) -> list[Tensor]:
    """Return masks (B, H W) of each level, True where a query may attend: everywhere where all is padding."""
    levels = memory.padding.split(memory.level_sizes, dim=1)
    return [~padding | padding.all(1, keepdim=True) for padding in levels]
