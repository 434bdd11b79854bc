"""Multi-head attention by PyTorch's module, which says what is wrong with its heads only by an assertion."""

from torch import nn


def check_heads(embed_dim: int, num_heads: int) -> None:
    """Raise ValueError when a width C does not divide into M heads."""
    if num_heads < 1 or embed_dim % num_heads:
        raise ValueError(f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}")


def multi_head_attention(embed_dim: int, num_heads: int, dropout: float = 0.0) -> nn.MultiheadAttention:
    """Attention of batch-first tensors.

    Args:
        embed_dim: width C.
        num_heads: M; divides C.
        dropout: of the attention weights.

    Raises:
        ValueError: C is not a multiple of M.
    """
    check_heads(embed_dim, num_heads)
    return nn.MultiheadAttention(embed_dim, num_heads, dropout, batch_first=True)
