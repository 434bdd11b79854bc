"""The feed-forward block of a post-norm transformer layer."""

from torch import Tensor, nn

from querydet.modeling.layers.dropout import Dropout


class FeedForward(nn.Module):
    """`norm(x + linear2(relu(linear1(x))))`, with dropout after the ReLU and before the sum.

    Args:
        embed_dim: width C.
        ffn_dim: hidden width.
        dropout: probability of both dropouts.
    """

    def __init__(self, embed_dim: int, ffn_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(embed_dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Xavier weights, as the released code does for every matrix of its transformers."""
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        update = self.linear2(self.activate(self.linear1(values)))
        return self.norm(values + self.dropout(update))

    def activate(self, hidden: Tensor) -> Tensor:
        """Apply the ReLU and dropout to hidden values (..., ffn_dim)."""
        return self.dropout.rectified(hidden)


class PReLUFeedForward(FeedForward):
    """The block with a PReLU, whose slope below zero is one learned number.

    In the released code, DAB-DETR and DN-DETR with standard attention have it.

    Args:
        embed_dim: width C.
        ffn_dim: hidden width.
        dropout: probability of both dropouts.
    """

    def __init__(self, embed_dim: int, ffn_dim: int, dropout: float = 0.0) -> None:
        super().__init__(embed_dim, ffn_dim, dropout)
        self.activation = nn.PReLU()

    def activate(self, hidden: Tensor) -> Tensor:
        """Apply the PReLU and dropout to hidden values (..., ffn_dim)."""
        return self.dropout(self.activation(hidden))


def make_feed_forward(embed_dim: int, ffn_dim: int, dropout: float, activation: str) -> FeedForward:
    """Make a feed-forward block with a given activation.

    Args:
        embed_dim: width C.
        ffn_dim: hidden width.
        dropout: probability of both dropouts of the block.
        activation: "relu" or "prelu".

    Raises:
        ValueError: for another activation.
    """
    kinds = {"relu": FeedForward, "prelu": PReLUFeedForward}
    if activation not in kinds:
        raise ValueError(f"activation must be one of {sorted(kinds)}, found {activation!r}")
    return kinds[activation](embed_dim, ffn_dim, dropout)
