"""The encoder layer and the stack of layers that all encoders share."""

from typing import Protocol

from torch import Tensor, nn

from querydet.modeling.layers import Dropout, FeedForward
from querydet.modeling.layers.stack import stack_layers
from querydet.structures import TokenPyramid


class TokenSelfAttention(Protocol):
    """Attention among tokens."""

    def attend(self, tokens: Tensor, features: TokenPyramid, reference: Tensor | None) -> Tensor:
        """Return the update (B, S, C) of the tokens.

        Args:
            tokens: (B, S, C).
            features: positions, padding and shapes of the tokens.
            reference: the points around which tokens sample, in the form that the encoder makes for this attention;
                None for an attention without references.
        """


class EncoderLayer(nn.Module):
    """Self-attention of tokens and a feed-forward block, each with a residual connection and followed by its norm.

    Args:
        embed_dim: width C.
        attention: attention among tokens.
        ffn: the feed-forward block.
        dropout: probability after the attention.
    """

    def __init__(
        self, *, embed_dim: int, attention: TokenSelfAttention, ffn: FeedForward, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.attention = attention
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = Dropout(dropout)
        self.ffn = ffn
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give output projections Xavier weights, as the released code gives every matrix of its transformers."""
        if isinstance(self.attention, nn.MultiheadAttention):
            nn.init.xavier_uniform_(self.attention.out_proj.weight)

    def forward(self, tokens: Tensor, features: TokenPyramid, reference: Tensor | None = None) -> Tensor:
        """Run the layer on tokens (B, S, C).

        Args:
            tokens: (B, S, C).
            features: positions, padding and shapes of the tokens.
            reference: see `TokenSelfAttention`.
        """
        update = self.attention.attend(tokens, features, reference)
        return self.ffn(self.norm(tokens + self.dropout(update)))


class EncoderStack(nn.Module):
    """A stack of layers.

    Args:
        layer: the first layer; the others have equal settings and initial weights of their own.
        num_layers: number of layers.
        activation_checkpointing: whether to recompute each layer in the backward pass instead of keeping its
            activations.
    """

    def __init__(self, *, layer: EncoderLayer, num_layers: int = 6, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.layers = stack_layers(layer, num_layers)
        self.activation_checkpointing = activation_checkpointing

    @property
    def first_layer(self) -> EncoderLayer:
        """The first layer, whose settings all layers have."""
        layer = self.layers[0]
        assert isinstance(layer, EncoderLayer)
        return layer

    @property
    def embed_dim(self) -> int:
        """C, the width of the tokens."""
        return self.first_layer.embed_dim
