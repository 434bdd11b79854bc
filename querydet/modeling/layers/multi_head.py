"""PyTorch's multi-head attention, with a check of the heads: PyTorch only asserts that they fit."""

from torch import nn


def check_heads(embed_dim: int, num_heads: int) -> None:
    """Raise ValueError when a width C does not divide into M heads."""
    if num_heads < 1 or embed_dim % num_heads:
        raise ValueError(f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}")


class MultiHeadAttention(nn.MultiheadAttention):
    """Attention of batch-first tensors.

    Args:
        embed_dim: width C.
        num_heads: M; divides C.
        dropout: probability of dropping an attention weight.

    Raises:
        ValueError: C is not a multiple of M.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        check_heads(embed_dim, num_heads)
        super().__init__(embed_dim, num_heads, dropout, batch_first=True)
