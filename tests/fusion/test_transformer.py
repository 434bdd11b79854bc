"""Fused layers of neck, encoder and decoder compute what the layers compute."""

import pytest
import torch

from querydet.fusion import PackedLayers, exchange_modules
from querydet.fusion.rules import RULES
from querydet.fusion.transformer import ROWS, FusedEncoderLayer, FusedFeedForward, FusedMLP, FusedSelfAttention
from querydet.modeling.decoder.attention import SelfAttention
from querydet.modeling.decoder.group_attention import plan_attention
from querydet.modeling.encoder import deformable_encoder_layer, dense_encoder_layer
from querydet.modeling.layers import MLP, FeedForward, PReLUFeedForward
from querydet.structures import QueryGroup
from tests.modeling.selection.test_proposals import pyramid

pytestmark = [
    pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"),
    pytest.mark.usefixtures("no_gradients"),
]
LIMITS = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


def fused(module):
    return exchange_modules(module.eval(), PackedLayers(), RULES)


@pytest.mark.parametrize("shape", [(3, 16), (2, ROWS // 2 + 3, 16), (1, 0, 16)])
def test_feed_forward_blocks_of_any_number_of_tokens(shape):
    block, values = FeedForward(16, 24), torch.randn(shape)
    expected, found = block(values), fused(block)
    assert isinstance(found, FusedFeedForward)
    torch.testing.assert_close(found(values), expected, **LIMITS)


def test_a_feed_forward_block_with_another_activation():
    block, values = PReLUFeedForward(16, 24), torch.randn(2, 5, 16)
    expected = block(values)
    torch.testing.assert_close(fused(block)(values), expected, **LIMITS)


@pytest.mark.parametrize("layers", [1, 3])
def test_perceptrons(layers):
    mlp, values = MLP(8, 12, 4, layers), torch.randn(2, 5, 8)
    expected, found = mlp(values), fused(mlp)
    assert isinstance(found, FusedMLP)
    torch.testing.assert_close(found(values), expected, **LIMITS)


@pytest.mark.parametrize("make", [deformable_encoder_layer, dense_encoder_layer])
def test_layers_of_encoders(make):
    features, reference = pyramid(padding_columns=1), None  # of width 8
    levels = {"num_levels": len(features.shapes)} if make is deformable_encoder_layer else {}
    layer = make(embed_dim=8, num_heads=2, ffn_dim=24, **levels)
    if levels:
        reference = torch.rand(*features.tokens.shape[:2], len(features.shapes), 2)
    expected = layer.eval()(features.tokens, features, reference)
    found = fused(layer)
    assert isinstance(found, FusedEncoderLayer)
    torch.testing.assert_close(found(features.tokens, features, reference), expected, **LIMITS)


def test_attention_among_queries_in_groups():
    attention = SelfAttention(16, 4).eval()
    torch.nn.init.normal_(attention.in_proj_bias)
    content, position = torch.randn(2, 2, 6, 16)
    plan = plan_attention((QueryGroup("a", 0, 2), QueryGroup("b", 2, 6)), content.device)
    expected, found = attention.attend(content, position, plan), fused(attention)
    assert isinstance(found, FusedSelfAttention)
    torch.testing.assert_close(found.attend(content, position, plan), expected, **LIMITS)
