"""The feed-forward block of a post-norm transformer layer."""

from torch import Tensor, nn

from querydet.modeling.layers.dropout import Dropout


class FeedForward(nn.Module):
    """`norm(x + linear2(relu(linear1(x))))`, with dropout after the ReLU and before the sum."""

    def __init__(self, embed_dim: int, ffn_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(embed_dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier weights, as the released code gives every matrix of its transformers."""
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        update = self.linear2(self.activate(self.linear1(values)))
        return self.norm(values + self.dropout(update))

    def activate(self, hidden: Tensor) -> Tensor:
        """ReLU of (..., ffn_dim), then dropout."""
        return self.dropout.rectified(hidden)


class PReLUFeedForward(FeedForward):
    """The same with a learned slope below zero, one number (released code of DAB-DETR and DN-DETR, dense models)."""

    def __init__(self, embed_dim: int, ffn_dim: int, dropout: float = 0.0) -> None:
        super().__init__(embed_dim, ffn_dim, dropout)
        self.activation = nn.PReLU()

    def activate(self, hidden: Tensor) -> Tensor:
        """PReLU of (..., ffn_dim), then dropout."""
        return self.dropout(self.activation(hidden))


def make_feed_forward(embed_dim: int, ffn_dim: int, dropout: float, activation: str) -> FeedForward:
    """The block with "relu" or "prelu".

    Raises:
        ValueError: for another activation.
    """
    kinds = {"relu": FeedForward, "prelu": PReLUFeedForward}
    if activation not in kinds:
        raise ValueError(f"activation must be one of {sorted(kinds)}, found {activation!r}")
    return kinds[activation](embed_dim, ffn_dim, dropout)
