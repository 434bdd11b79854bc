"""The decoder layer whose queries attend to every token of several levels, level by level.

Source: the released code of DN-DETR (arXiv 2203.01305), model "deformable encoder only"; the tables of DINO (arXiv
2203.03605) call it DN-Deformable-DETR. Letters are those of `querydet.structures`.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from querydet.modeling.decoder.attention import ConditionalQueryAttention, LevelwiseTokenAttention
from querydet.modeling.decoder.layer import DecoderLayer
from querydet.modeling.decoder.one_to_many import STEPS, OneToManyBranch
from querydet.modeling.layers import FeedForward, make_feed_forward
from querydet.structures import TokenPyramid


class LevelGate(nn.Linear):
    """A linear map from queries (..., C) to a score for each level (..., L)."""

    def reset_parameters(self) -> None:
        """Draw Xavier weights, as the released code does for every matrix of its transformers; biases are torch's."""
        super().reset_parameters()
        nn.init.xavier_uniform_(self.weight)


class LevelwiseDecoderLayer(DecoderLayer):
    """A layer that weighs the levels for each query, before the queries have met each other.

    The weights come from the query of the self-attention: content and position before the first step, projected, added
    up, and mapped to a score for each level.

    Args:
        embed_dim, ffn, dropout, order, one_to_many: see `DecoderLayer`.
        self_attention: attention among queries.
        cross_attention: attention of queries to each level.
    """

    self_attention: ConditionalQueryAttention
    cross_attention: LevelwiseTokenAttention

    def __init__(
        self,
        *,
        embed_dim: int,
        self_attention: ConditionalQueryAttention,
        cross_attention: LevelwiseTokenAttention,
        ffn: FeedForward,
        dropout: float = 0.0,
        order: Sequence[str] = STEPS,
        one_to_many: OneToManyBranch | None = None,
    ) -> None:
        super().__init__(
            embed_dim=embed_dim,
            self_attention=self_attention,
            cross_attention=cross_attention,
            ffn=ffn,
            dropout=dropout,
            order=order,
            one_to_many=one_to_many,
        )
        self.level_gate = LevelGate(embed_dim, cross_attention.num_levels)

    def attend_to_tokens(
        self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid, start: Tensor
    ) -> Tensor:
        """Return the update (B, Q, C) of the cross-attention; the arguments are those of `DecoderLayer`."""
        scores = self.level_scores(position, start)
        return self.cross_attention.attend(content, position, reference, memory, scores)

    def level_scores(self, position: Tensor, start: Tensor) -> Tensor:
        """Return the scores (B, Q, L) of the levels.

        Args:
            position: (B, Q, C), positional queries.
            start: (B, Q, C), the contents before the first step of the layer.
        """
        return self.level_gate(self.self_attention.query(position, start))


def levelwise_decoder_layer(
    *,
    embed_dim: int = 256,
    num_heads: int = 8,
    ffn_dim: int = 2048,
    dropout: float = 0.0,
    activation: str = "relu",
    num_levels: int = 4,
    order: Sequence[str] = STEPS,
    one_to_many: OneToManyBranch | None = None,
) -> LevelwiseDecoderLayer:
    """Make DAB-DETR's layer for several levels; contents and positions have projections of their own.

    Args:
        embed_dim: width C.
        num_heads: M, of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: probability after each sub-layer, in the feed-forward block, and of attention weights.
        activation: activation of the feed-forward block, "relu" or "prelu".
        num_levels: L.
        order: the three steps in the order in which they run.
        one_to_many: branch for one-to-many predictions, in training; None: none.

    Raises:
        ValueError: C is not a multiple of M, there is no level, or for an unknown activation or order.
    """
    return LevelwiseDecoderLayer(
        embed_dim=embed_dim,
        self_attention=ConditionalQueryAttention(embed_dim, num_heads, dropout),
        cross_attention=LevelwiseTokenAttention(embed_dim, num_heads, num_levels, dropout),
        ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
        dropout=dropout,
        order=order,
        one_to_many=one_to_many,
    )
