"""Encoders with standard attention, beside their formulas written out with loops over heads."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.modeling.encoder import DenseEncoder, EncoderLayer, ScaledDenseEncoder, dense_encoder_layer
from querydet.structures import TokenPyramid

HEADS = 4


def features() -> TokenPyramid:
    """A map of 3x4 tokens whose last column is padding, of an image of its own."""
    torch.manual_seed(1)
    return TokenPyramid(
        tokens=torch.randn(1, 12, 32, dtype=torch.float64),
        position=torch.randn(1, 12, 32, dtype=torch.float64),
        padding=torch.tensor([[False, False, False, True] * 3]),
        shapes=((3, 4),),
        valid_ratios=torch.tensor([[[0.75, 1.0]]]),
    )


def make(kind: type[DenseEncoder] = DenseEncoder, **arguments: object) -> DenseEncoder:
    torch.manual_seed(0)
    layer = dense_encoder_layer(embed_dim=32, num_heads=HEADS, ffn_dim=48)
    return kind(layer=layer, **{"num_layers": 2, **arguments}).double()


def slow_layer(layer: EncoderLayer, x: Tensor, position: Tensor, padding: Tensor) -> Tensor:
    """A layer for the tokens (S, C) of one image, head by head."""
    weights, biases = layer.attention.in_proj_weight.chunk(3), layer.attention.in_proj_bias.chunk(3)
    query, key, value = (
        F.linear(part, weight, bias).chunk(HEADS, -1)
        for part, weight, bias in zip((x + position, x + position, x), weights, biases, strict=True)
    )
    scores = [(q @ k.T / math.sqrt(8)).masked_fill(padding, -math.inf) for q, k in zip(query, key, strict=True)]
    mixed = torch.cat([score.softmax(-1) @ v for score, v in zip(scores, value, strict=True)], -1)
    return layer.ffn(layer.norm(x + layer.attention.out_proj(mixed)))


@torch.no_grad()
def test_the_formula_of_detr() -> None:
    encoder, inputs = make(), features()
    x = inputs.tokens[0]
    for layer in encoder.layers:
        x = slow_layer(layer, x, inputs.position[0], inputs.padding[0])
    torch.testing.assert_close(encoder(inputs).tokens[0], x)


@torch.no_grad()
def test_tokens_scale_their_positions_in_dab_detr() -> None:
    encoder, inputs = make(ScaledDenseEncoder), features()
    x = inputs.tokens[0]
    for layer in encoder.layers:
        x = slow_layer(layer, x, inputs.position[0] * encoder.query_scale(x), inputs.padding[0])
    found = encoder(inputs)
    torch.testing.assert_close(found.tokens[0], x)
    assert found.position is inputs.position, "the next stage reads the positions as the neck made them"


@pytest.mark.parametrize("kind", [DenseEncoder, ScaledDenseEncoder])
@torch.no_grad()
def test_padding_does_not_change_the_image(kind: type[DenseEncoder]) -> None:
    encoder, inputs = make(kind), features()
    garbage = torch.where(inputs.padding[..., None], 1e3, inputs.tokens)
    found, wanted = encoder(replace(inputs, tokens=garbage)).tokens, encoder(inputs).tokens
    torch.testing.assert_close(found[~inputs.padding], wanted[~inputs.padding])


def test_rows_of_attention_maps_that_a_step_keeps() -> None:
    encoder = make(num_layers=3)
    assert encoder.attention_rows(tokens=100, queries=7) == 3 * HEADS * 100
    assert make(num_layers=3, activation_checkpointing=True).attention_rows(100, 7) == HEADS * 100


def test_it_is_for_one_map() -> None:
    assert (make().num_levels, make().embed_dim) == (1, 32)


def test_layers_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="activation must be one of"):
        dense_encoder_layer(embed_dim=32, num_heads=4, activation="gelu")
    with pytest.raises(ValueError, match="embed_dim 32 must be a multiple of num_heads 5"):
        dense_encoder_layer(embed_dim=32, num_heads=5)
