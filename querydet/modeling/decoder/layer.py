"""What the layers of all decoders share: self-attention, cross-attention and feed-forward block, and read-outs.

Shapes: B images, Q queries, C width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from querydet.modeling.decoder.group_attention import AttentionPlan
from querydet.modeling.decoder.one_to_many import STEPS, OneToManyBranch
from querydet.modeling.layers import Dropout, FeedForward
from querydet.structures import TokenPyramid


class QueryLayer(nn.Module):
    """What all decoder layers have in common: three steps in some order, each followed by its norm, and read-outs.

    A kind of attention is a subclass, which makes the steps and says how its attentions are called.

    Args:
        embed_dim: width C.
        self_attention: among queries.
        cross_attention: of queries to tokens.
        ffn: the feed-forward block.
        dropout: of every update.
        order: the three steps in the order in which they run; MS-DETR puts the cross-attention first.
        read_out: where one-to-many predictions are read in training; None: nowhere.

    Raises:
        ValueError: when ``order`` is not an order of the three steps.
    """

    training_only = ("read_out",)

    def __init__(
        self,
        *,
        embed_dim: int,
        self_attention: nn.Module,
        cross_attention: nn.Module,
        ffn: FeedForward,
        dropout: float,
        order: Sequence[str] = STEPS,
        read_out: OneToManyBranch | None = None,
    ) -> None:
        super().__init__()
        if sorted(order) != sorted(STEPS):
            raise ValueError(f"order must hold each of {STEPS} once, found {tuple(order)}")
        self.order = tuple(order)
        self.self_attention = self_attention
        self.self_attention_norm = nn.LayerNorm(embed_dim)
        self.cross_attention = cross_attention
        self.cross_attention_norm = nn.LayerNorm(embed_dim)
        self.ffn = ffn
        self.read_out = read_out
        self.dropout = Dropout(dropout)
        self.embed_dim = embed_dim

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        place: Tensor | None,
        memory: TokenPyramid,
        plan: AttentionPlan,
        read: tuple[slice, ...] = (),
    ) -> tuple[Tensor, Tensor | None]:
        """Update the content of the queries.

        Args:
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
            place: where in the image the queries look, as the cross-attention wants it.
            memory: encoded image features.
            plan: which queries may attend to which.
            read: the queries of the one-to-many read-out.

        Returns:
            The new content, and what the one-to-many heads read (B, n, C), None when nothing is read.
        """
        hidden = None
        for step in self.order:
            if step == "self_attention":
                update = self.attend_to_queries(content, position, plan)
                content = self.self_attention_norm(content + self.dropout(update))
            elif step == "cross_attention":
                update = self.attend_to_tokens(content, position, place, memory)
                content = self.cross_attention_norm(content + self.dropout(update))
            else:
                content = self.ffn(content)
            if read and self.read_out is not None and self.read_out.after == step:
                hidden = self.read_out(torch.cat([content[:, rows] for rows in read], dim=1))
        return content, hidden

    def attend_to_queries(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        """The update (B, Q, C) by self-attention."""
        raise NotImplementedError

    def attend_to_tokens(self, content: Tensor, position: Tensor, place: Tensor | None, memory: TokenPyramid) -> Tensor:
        """The update (B, Q, C) by cross-attention."""
        raise NotImplementedError


class AddedPositionLayer(QueryLayer):
    """A decoder layer whose self-attention adds positions to contents, as DETR's and all deformable ones do.

    ``self_attention`` is an ``nn.MultiheadAttention``.
    """

    def reset_parameters(self) -> None:
        """Xavier weights, as the released code gives every matrix of its transformers."""
        assert isinstance(self.self_attention, nn.MultiheadAttention)
        nn.init.xavier_uniform_(self.self_attention.out_proj.weight)

    def attend_to_queries(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        """The update (B, Q, C) by self-attention."""
        return plan.apply(self._attend, content + position, content)

    def _attend(self, query: Tensor, value: Tensor, blocked: Tensor | None) -> Tensor:
        return self.self_attention(query, query, value, attn_mask=blocked, need_weights=False)[0]
