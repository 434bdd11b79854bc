"""The deformable encoder: where tokens look, and that nobody sees padding."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from querydet.modeling.encoder import DeformableEncoder, deformable_encoder_layer
from querydet.structures import TokenPyramid


def make(**arguments: int) -> DeformableEncoder:
    torch.manual_seed(0)
    layer = deformable_encoder_layer(**{"embed_dim": 8, "num_heads": 2, "ffn_dim": 16, "num_levels": 2, **arguments})
    return DeformableEncoder(layer=layer, num_layers=2)


def features() -> TokenPyramid:
    """Levels of 2x4 and 1x2 tokens; the right half of both is padding."""
    torch.manual_seed(1)
    padding = torch.tensor([[False, False, True, True] * 2 + [False, True]])
    return TokenPyramid(
        tokens=torch.randn(1, 10, 8),
        position=torch.randn(1, 10, 8),
        padding=padding,
        shapes=((2, 4), (1, 2)),
        valid_ratios=torch.tensor([[[0.5, 1.0], [0.5, 1.0]]]),
    )


def test_tokens_look_around_their_own_place_on_every_level(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, seen = make(), []

    def attend(tokens: Tensor, features: TokenPyramid, reference: Tensor) -> Tensor:
        seen.append(reference)
        return torch.zeros_like(tokens)

    for layer in encoder.layers:
        monkeypatch.setattr(layer.attention, "attend", attend)
    encoder(features())
    reference, again = seen
    assert torch.equal(reference, again)
    assert reference.shape == (1, 10, 2, 2)
    # the second token of the first row lies at 1.5 of the 2 valid columns, and these are half of each padded map
    torch.testing.assert_close(reference[0, 1], torch.tensor([[0.75 * 0.5, 0.25]] * 2))
    torch.testing.assert_close(reference[0, 8], torch.tensor([[0.5 * 0.5, 0.5]] * 2))


@torch.no_grad()
def test_padding_does_not_change_the_image() -> None:
    encoder, inputs = make().eval(), features()
    for layer in encoder.layers:
        torch.nn.init.normal_(layer.attention.sampling_offsets.weight)
    garbage = torch.where(inputs.padding[..., None], 1e3, inputs.tokens)
    found, wanted = encoder(replace(inputs, tokens=garbage)).tokens, encoder(inputs).tokens
    assert torch.equal(found[~inputs.padding], wanted[~inputs.padding])


def test_positions_choose_where_to_look() -> None:
    encoder, inputs = make().eval(), features()
    for layer in encoder.layers:
        torch.nn.init.normal_(layer.attention.sampling_offsets.weight)
    other = encoder(replace(inputs, position=inputs.position.flip(1)))
    assert not torch.equal(other.tokens, encoder(inputs).tokens)


def test_it_says_how_many_levels_it_is_for() -> None:
    assert (make().num_levels, make(num_levels=3).num_levels, make().embed_dim) == (2, 3, 8)


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="embed_dim 8 must be a multiple of num_heads 3"):
        make(num_heads=3)
