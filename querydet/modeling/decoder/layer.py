"""The decoder layer of every method: self-attention, cross-attention and a feed-forward block in some order.

The attentions are passed in. Letters are those of `querydet.structures`.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from querydet.modeling.decoder.group_attention import AttentionPlan, Update
from querydet.modeling.decoder.one_to_many import STEPS, OneToManyBranch
from querydet.modeling.layers import Dropout, FeedForward
from querydet.structures import TokenPyramid
from querydet.traits import trait


class QueryAttention(Protocol):
    """Attention among queries."""

    def attend(self, content: Tensor, position: Tensor, plan: AttentionPlan, /) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
            plan: which queries may attend to which.
        """


class TokenAttention(Protocol):
    """Attention of queries to tokens."""

    def attend(self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid, /) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
            reference: where in the image the queries sample, in the form that the decoder makes for this attention;
                None for an attention without references.
            memory: encoded image features.
        """


class LayerPlan(Protocol):
    """How a layer computes self-attention: an `AttentionPlan`, or one for several streams of queries."""

    def update(self, update: Update, content: Tensor, position: Tensor, /) -> Tensor:
        """Return the content after self-attention, see `AttentionPlan.update`."""


class DecoderLayer(nn.Module):
    """Two attentions and a feed-forward block, each with a residual connection and followed by its norm.

    Args:
        embed_dim: width C.
        self_attention: attention among queries, or `querydet.modeling.decoder.query_mlp.QueryMLP`.
        cross_attention: attention of queries to tokens, or `QueryMLP`.
        ffn: the feed-forward block.
        dropout: probability after each attention.
        order: the three steps in the order in which they run; MS-DETR puts the cross-attention first.
        one_to_many: branch for one-to-many predictions, in training; None: none.

    Raises:
        ValueError: when `order` is not an order of the three steps, or a step has another width.
    """

    training_only = ("read_out",)

    def __init__(
        self,
        *,
        embed_dim: int,
        self_attention: QueryAttention,
        cross_attention: TokenAttention,
        ffn: FeedForward,
        dropout: float = 0.0,
        order: Sequence[str] = STEPS,
        one_to_many: OneToManyBranch | None = None,
    ) -> None:
        super().__init__()
        if sorted(order) != sorted(STEPS):
            raise ValueError(f"order must hold each of {STEPS} once, found {tuple(order)}")
        for name, step in (("self_attention", self_attention), ("cross_attention", cross_attention)):
            if trait(step, "embed_dim") not in (None, embed_dim):
                raise ValueError(
                    f"the {name} of a decoder layer of width {embed_dim} is made for width {trait(step, 'embed_dim')}: "
                    f"set its embed_dim to {embed_dim}"
                )
        self.order = tuple(order)
        self.self_attention = self_attention
        self.self_attention_norm = nn.LayerNorm(embed_dim)
        self.cross_attention = cross_attention
        self.cross_attention_norm = nn.LayerNorm(embed_dim)
        self.ffn = ffn
        self.read_out = one_to_many  # the name that its weights have in checkpoints
        self.dropout = Dropout(dropout)
        self.embed_dim = embed_dim
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give output projections Xavier weights, as the released code gives every matrix of its transformers."""
        for attention in (self.self_attention, self.cross_attention):
            if isinstance(attention, nn.MultiheadAttention):
                nn.init.xavier_uniform_(attention.out_proj.weight)

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        reference: Tensor | None,
        memory: TokenPyramid,
        plan: LayerPlan,
        branch_rows: tuple[slice, ...] = (),
    ) -> tuple[Tensor, Tensor | None]:
        """Update the content of the queries.

        Args:
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
            reference: where in the image the queries sample, see `TokenAttention`.
            memory: encoded image features.
            plan: which queries may attend to which.
            branch_rows: rows of the n queries of the one-to-many branch; without any, the branch does not run.

        Returns:
            The new content (B, Q, C), and the input (B, n, C) of the one-to-many heads; None where the branch does not
            run.
        """
        hidden, start = None, content
        for step in self.order:
            content = self.run(step, content, position, reference, memory, plan, start)
            hidden = self.branch_off(step, content, branch_rows, hidden)
        return content, hidden

    def run(
        self,
        step: str,
        content: Tensor,
        position: Tensor,
        reference: Tensor | None,
        memory: TokenPyramid,
        plan: LayerPlan,
        start: Tensor,
    ) -> Tensor:
        """Return the content (B, Q, C) after one of the steps.

        Args:
            step: one of `STEPS`.
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
            reference: where in the image the queries sample, see `TokenAttention`.
            memory: encoded image features.
            plan: which queries may attend to which.
            start: (B, Q, C), the contents before the first step of the layer.
        """
        if step == "self_attention":
            return plan.update(self.attend_to_queries, content, position)
        if step == "cross_attention":
            update = self.attend_to_tokens(content, position, reference, memory, start)
            return self.cross_attention_norm(content + self.dropout(update))
        return self.ffn(content)

    def branch_off(
        self, step: str, content: Tensor, branch_rows: tuple[slice, ...], hidden: Tensor | None
    ) -> Tensor | None:
        """Return the input (B, n, C) of the one-to-many heads where the branch starts after this step.

        Args:
            step: the step that made the content.
            content: (B, Q, C).
            branch_rows: see `forward`.
            hidden: what to return after other steps.
        """
        if branch_rows and self.read_out is not None and self.read_out.after == step:
            hidden = self.read_out(torch.cat([content[:, rows] for rows in branch_rows], dim=1))
        return hidden

    def attend_to_queries(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        """Return the content (B, Q, C) after the self-attention.

        Args:
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
            plan: which queries may attend to which.
        """
        update = self.self_attention.attend(content, position, plan)
        return self.self_attention_norm(content + self.dropout(update))

    def attend_to_tokens(
        self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid, start: Tensor
    ) -> Tensor:
        """Return the update (B, Q, C) of the cross-attention.

        Args:
            content: (B, Q, C), the current contents.
            position: (B, Q, C), positional queries.
            reference: where in the image the queries sample, see `TokenAttention`.
            memory: encoded image features.
            start: (B, Q, C), the contents before the first step of the layer; of no use to most attentions.
        """
        return self.cross_attention.attend(content, position, reference, memory)
