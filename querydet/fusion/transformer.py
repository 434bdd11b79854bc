"""The layers of encoders and decoders."""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from querydet.fusion.exchange import Exchange
from querydet.fusion.layers import as_layer
from querydet.modeling.decoder.attention import SelfAttention
from querydet.modeling.decoder.group_attention import AttentionPlan
from querydet.modeling.encoder.base import EncoderLayer, TokenSelfAttention
from querydet.modeling.layers import MLP, FeedForward
from querydet.ops.add_layer_norm import add_layer_norm
from querydet.structures import TokenPyramid

ROWS = 2048  # tokens that go through a feed-forward block together, so that its hidden values stay in the cache


class FusedMLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        layers: all but the last have a ReLU.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @classmethod
    def make(cls, module: MLP, exchange: Exchange) -> nn.Module:
        """Fuse an MLP."""
        *hidden, last = (layer for layer in module.layers if isinstance(layer, nn.Linear))
        make = exchange.layers.linear
        return cls([*(make(layer, relu=True) for layer in hidden), make(last)])

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        layers = [as_layer(layer) for layer in self.layers]
        for layer, following in pairwise(layers):
            values = layer(values, into=following.entry)
        return layers[-1](values)


class FusedFeedForward(nn.Module):
    """`norm(x + linear2(relu(linear1(x))))`, some tokens after the other.

    Args:
        expand: `linear1` with the ReLU.
        reduce: `linear2`, which adds its input.
        norm: the norm.
    """

    def __init__(self, expand: nn.Module, reduce: nn.Module, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.expand, self.reduce, self.norm = expand, reduce, norm

    @classmethod
    def make(cls, module: FeedForward, exchange: Exchange) -> nn.Module:
        """Fuse a feed-forward block with a ReLU."""
        make = exchange.layers.linear
        return cls(make(module.linear1, relu=True), make(module.linear2), module.norm)

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return torch.cat([self._run(some) for some in values.flatten(0, -2).split(ROWS)]).view(values.shape)

    def _run(self, values: Tensor) -> Tensor:
        hidden = self.expand(values, into=as_layer(self.reduce).entry)
        return self.norm(self.reduce(hidden, add=values))


class FusedEncoderLayer(nn.Module):
    """Self-attention of tokens, its residual sum and norm in one pass, and a feed-forward block.

    Args:
        attention: attention among tokens.
        norm: the norm after it.
        ffn: the feed-forward block.
    """

    def __init__(self, attention: nn.Module, norm: nn.LayerNorm, ffn: nn.Module) -> None:
        super().__init__()
        self.attention, self.norm, self.ffn = attention, norm, ffn

    @classmethod
    def make(cls, module: EncoderLayer, exchange: Exchange) -> nn.Module:
        """Fuse a layer of an encoder."""
        return cls(exchange(cast(nn.Module, module.attention)), module.norm, exchange(module.ffn))

    def forward(self, tokens: Tensor, features: TokenPyramid, reference: Tensor | None = None) -> Tensor:
        """Run the layer on tokens (B, S, C); see `querydet.modeling.encoder.EncoderLayer`."""
        update = cast(TokenSelfAttention, self.attention).attend(tokens, features, reference).to(tokens.dtype)
        return self.ffn(add_layer_norm(tokens, update, self.norm.weight, self.norm.bias, self.norm.eps))


class FusedSelfAttention(nn.Module):
    """Attention among queries that adds positions to contents.

    Args:
        query_key: both projections side by side.
        value: the projection of values.
        output: the projection of the result.
        num_heads: M.
    """

    def __init__(self, query_key: nn.Module, value: nn.Module, output: nn.Module, num_heads: int) -> None:
        super().__init__()
        self.query_key, self.value, self.output, self.num_heads = query_key, value, output, num_heads

    @classmethod
    def make(cls, module: SelfAttention, exchange: Exchange) -> nn.Module:
        """Fuse the attention of queries."""
        weight, bias, width = module.in_proj_weight, module.in_proj_bias, module.embed_dim
        make = exchange.layers.linear
        query_key = make(_linear(weight[: 2 * width], bias[: 2 * width]))
        value = make(_linear(weight[2 * width :], bias[2 * width :]))
        return cls(query_key, value, make(module.out_proj), module.num_heads)

    def attend(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        """Return the update (B, Q, C) of contents (B, Q, C) at positions (B, Q, C)."""
        query, key = self.query_key(content + position).chunk(2, dim=-1)
        query, key, value = (
            values.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for values in (query, key, self.value(content))
        )
        return self.output(plan.mix(query, key, value).transpose(1, 2).flatten(2))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return linear
