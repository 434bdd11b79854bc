"""Attention whose contents and positions have projections of their own (Conditional DETR, arXiv 2108.06152, section 3).

Letters are those of `querydet.structures`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.layers import check_heads
from querydet.structures import TokenPyramid


class _Heads(nn.Module):
    """Base of both attentions: projections, and attention of several heads.

    Args:
        embed_dim: width C, a multiple of `num_heads`.
        num_heads: M.
        dropout: probability of dropping an attention weight.

    Raises:
        ValueError: C is not a multiple of M.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(embed_dim, num_heads)
        self.num_heads, self.dropout = num_heads, dropout
        self.query_content, self.key_content, self.value = (nn.Linear(embed_dim, embed_dim) for _ in range(3))
        self.output = nn.Linear(embed_dim, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Xavier weights, as the released code does for every matrix of its transformers."""
        for child in self.children():
            assert isinstance(child, nn.Linear)
            nn.init.xavier_uniform_(child.weight)
        nn.init.zeros_(self.output.bias)

    def split(self, values: Tensor) -> Tensor:
        """Split (B, n, C) into heads, (B, M, n, D)."""
        return values.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
        """Attend in each head, join the heads, and project: (B, n, C) for n queries.

        Args:
            query: (B, M, n, D), or 2D where contents and positions are side by side.
            key: (B, M, N, D), or 2D, of N queries or tokens.
            value: (B, M, N, D).
            visible: bool, True where a query may attend to a key, of a shape that broadcasts to (B, M, n, N); None:
                everywhere.
        """
        return self.output(self.attend_in_heads(query, key, value, visible))

    def attend_in_heads(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
        """Attend in each head and join the heads: (B, n, C), not projected. The arguments are those of `mix`."""
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)


class ConditionalSelfAttention(_Heads):
    """Attention among queries that adds projected positions to projected contents."""

    def __init__(self, embed_dim: int = 256, num_heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__(embed_dim, num_heads, dropout)
        self.query_position, self.key_position = (nn.Linear(embed_dim, embed_dim) for _ in range(2))
        self.reset_parameters()

    def forward(self, position: Tensor, content: Tensor, blocked: Tensor | None = None) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            position: (B, Q, C), of the queries.
            content: (B, Q, C), of the queries.
            blocked: (Q, Q) bool, True where the row may not attend to the column; None: nowhere.
        """
        return self.mix(*self.project(position, content), None if blocked is None else ~blocked)

    def project(self, position: Tensor, content: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries, keys and values (B, M, Q, D) of all heads, from positions and contents (B, Q, C)."""
        key = self.key_content(content) + self.key_position(position)
        return self.split(self.query(position, content)), self.split(key), self.split(self.value(content))

    def query(self, position: Tensor, content: Tensor) -> Tensor:
        """Return the projected queries (B, Q, C) of all heads, from positions and contents (B, Q, C)."""
        return self.query_content(content) + self.query_position(position)


class ConditionalCrossAttention(_Heads):
    """Attention of queries to tokens: each head compares contents and positions side by side (section 3.3).

    Args:
        embed_dim: width C.
        num_heads: M.
        dropout: probability of dropping an attention weight.
        first: whether to add positions to the contents too, as in the first layer, where the contents do not depend on
            the image yet.
    """

    def __init__(self, embed_dim: int = 256, num_heads: int = 8, dropout: float = 0.0, first: bool = True) -> None:
        super().__init__(embed_dim, num_heads, dropout)
        self.key_position, self.query_sine = (nn.Linear(embed_dim, embed_dim) for _ in range(2))
        self.query_position = nn.Linear(embed_dim, embed_dim) if first else None
        self.reset_parameters()

    def forward(self, content: Tensor, position: Tensor, sine: Tensor, memory: TokenPyramid) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C), of the queries.
            position: (B, Q, C), of the queries; used in the first layer only.
            sine: (B, Q, C), the embedded reference points, scaled by a function of the content.
            memory: encoded image features.
        """
        return self.mix(*self.project(content, position, sine, memory), ~memory.padding[:, None, None])

    def project(
        self, content: Tensor, position: Tensor, sine: Tensor, memory: TokenPyramid
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, M, Q, 2D), keys (B, M, S, 2D) and values (B, M, S, D) of all heads.

        The arguments are those of `forward`.
        """
        key_position = self.key_position(memory.position)
        query, key = self.query_content(content), self.key_content(memory.tokens)
        if self.query_position is not None:
            query, key = query + self.query_position(position), key + key_position
        queries = torch.cat([self.split(query), self.split(self.query_sine(sine))], dim=-1)
        keys = torch.cat([self.split(key), self.split(key_position)], dim=-1)
        return queries, keys, self.split(self.value(memory.tokens))
