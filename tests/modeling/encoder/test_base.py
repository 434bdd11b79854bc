"""The encoder layer and stack around any attention."""

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.encoder import DeformableEncoder, DenseEncoder, EncoderLayer, dense_encoder_layer
from querydet.modeling.layers import FeedForward
from querydet.structures import TokenPyramid


def features(height: int = 2, width: int = 3) -> TokenPyramid:
    torch.manual_seed(1)
    tokens = height * width
    return TokenPyramid(
        tokens=torch.randn(1, tokens, 8),
        position=torch.randn(1, tokens, 8),
        padding=torch.zeros(1, tokens, dtype=torch.bool),
        shapes=((height, width),),
        valid_ratios=torch.ones(1, 1, 2),
    )


class Shift(nn.Module):
    """An attention of one's own, which inherits from nothing here: adds the position of the next token."""

    def attend(self, tokens: Tensor, features: TokenPyramid, reference: Tensor | None) -> Tensor:
        return features.position.roll(-1, dims=1)


def layer_of(attention: nn.Module, dropout: float = 0.0) -> EncoderLayer:
    torch.manual_seed(0)
    return EncoderLayer(embed_dim=8, attention=attention, ffn=FeedForward(8, 16), dropout=dropout)


def test_each_step_has_a_residual_connection_and_its_norm() -> None:
    layer, inputs = layer_of(Shift()), features()
    wanted = layer.ffn(layer.norm(inputs.tokens + inputs.position.roll(-1, dims=1)))
    torch.testing.assert_close(layer(inputs.tokens, inputs), wanted)


def test_dropout_of_the_update_leaves_the_tokens() -> None:
    layer, inputs = layer_of(Shift(), dropout=1.0), features()
    torch.testing.assert_close(layer(inputs.tokens, inputs), layer.ffn(layer.norm(inputs.tokens)))


@pytest.mark.parametrize("kind", [DenseEncoder, DeformableEncoder])
def test_any_attention_makes_an_encoder_and_nothing_but_tokens_changes(kind: type) -> None:
    encoder, inputs = kind(layer=layer_of(Shift()), num_layers=3), features()
    found = encoder(inputs)
    tokens = inputs.tokens
    for layer in encoder.layers:
        tokens = layer(tokens, inputs)
    assert torch.equal(found.tokens, tokens)
    for name in ("position", "padding", "shapes", "valid_ratios"):
        assert getattr(found, name) is getattr(inputs, name)
    assert encoder.embed_dim == 8


def test_recomputation_changes_neither_tokens_nor_gradients() -> None:
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        layer = dense_encoder_layer(embed_dim=8, num_heads=2, ffn_dim=16)
        encoder = DenseEncoder(layer=layer, num_layers=2, activation_checkpointing=recompute)
        tokens = encoder(features()).tokens
        tokens.square().sum().backward()
        results.append([tokens.detach(), *(parameter.grad for parameter in encoder.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
