"""A multi-layer perceptron that replaces an attention of a decoder layer (DETA, arXiv 2212.06137, table 7).

The paper replaces self-attention or cross-attention in all layers, "to maintain parameter parity", and gives no shape.
At the usual sizes (C = 256, 8 heads, 4 levels of 4 points) 512 hidden values have the parameters of the self-attention
up to 256, and 448 those of the deformable cross-attention up to 192.
"""

from torch import Tensor, nn

from querydet.modeling.layers import Dropout


class QueryMLP(nn.Module):
    """An update of each query from its own content and position: two linear layers with a ReLU between them.

    It is no attention, but takes the place of either one in a `querydet.modeling.decoder.layer.DecoderLayer`, which
    keeps its residual connection and its norm. As self-attention it leaves every query by itself, as cross-attention it
    leaves the image to the proposals that queries start from.

    Args:
        embed_dim: width C.
        hidden_dim: hidden width.
        dropout: probability after the ReLU.
        add_position: whether positional queries are added to the contents, as for the query of an attention.

    Raises:
        ValueError: hidden_dim is not positive.
    """

    reads_tokens = False

    def __init__(
        self, *, embed_dim: int = 256, hidden_dim: int = 512, dropout: float = 0.0, add_position: bool = True
    ) -> None:
        super().__init__()
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, found {hidden_dim}")
        self.linear1 = nn.Linear(embed_dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, embed_dim)
        self.dropout = Dropout(dropout)
        self.embed_dim = embed_dim
        self.add_position = add_position
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Xavier weights, as the released code does for every matrix of its transformers."""
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def attend(self, content: Tensor, position: Tensor, *_: object) -> Tensor:
        """Return the update (B, Q, C) of contents (B, Q, C) at positions (B, Q, C); nothing else matters."""
        values = content + position if self.add_position else content
        return self.linear2(self.dropout.rectified(self.linear1(values)))
