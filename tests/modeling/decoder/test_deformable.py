"""The deformable decoder: its queries look at their references, in the part of each level that is image."""

import pytest
import torch

from querydet.modeling.decoder import DeformableDecoder, deformable_decoder_layer
from querydet.modeling.layers import MultiScaleDeformableAttention
from tests.modeling.decoder.stacks import heads, memory, queries


def make(num_levels: int = 1) -> DeformableDecoder:
    torch.manual_seed(0)
    layer = deformable_decoder_layer(embed_dim=32, num_heads=4, ffn_dim=32, num_levels=num_levels, num_points=2)
    return DeformableDecoder(layer=layer, num_layers=2)


@pytest.mark.parametrize("reference_dim", [2, 4])
def test_references_are_relative_to_the_padded_levels(reference_dim: int) -> None:
    batch = queries(reference_dim=reference_dim, position=True)
    position, reference = make().positional_inputs(batch, batch.boxes, memory(ratio=0.5), batch.content, 0)
    assert position is batch.position
    assert reference is not None
    assert reference.shape == (1, 5, 1, reference_dim)
    halves = torch.tensor([0.5, 1.0] * (reference_dim // 2))  # of x and width
    torch.testing.assert_close(reference[:, :, 0], batch.boxes * halves)


@torch.no_grad()
def test_padding_is_not_looked_at() -> None:
    decoder, batch, image, made = make(), queries(position=True), memory(ratio=0.5), heads(2)
    before = decoder(batch, image, made)[-1].hidden
    image.tokens[image.padding] = 1e3
    assert torch.equal(decoder(batch, image, made)[-1].hidden, before)


def test_its_layers_have_as_many_levels_and_points_as_they_are_made_for() -> None:
    decoder = make(num_levels=3)
    assert decoder.num_levels == 3
    for layer in decoder.layers:
        attention = layer.cross_attention
        assert isinstance(attention, MultiScaleDeformableAttention)
        assert (attention.num_heads, attention.num_levels, attention.num_points) == (4, 3, 2)


def test_a_layer_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="embed_dim 32 must be a multiple of num_heads 5"):
        deformable_decoder_layer(embed_dim=32, num_heads=5)
    with pytest.raises(ValueError, match="order must hold each of"):
        deformable_decoder_layer(embed_dim=32, num_heads=4, order=["ffn"])
