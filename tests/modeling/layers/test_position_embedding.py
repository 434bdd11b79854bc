import math

import pytest
import torch

from querydet.modeling.layers.position_embedding import SinePositionEmbedding, box_sine_embedding


def test_map_embedding_by_hand() -> None:
    """2x3 map, last column padded; the second pixel of the first row lies at (1, 1/2) of the valid (width, height)."""
    padding = torch.tensor([[[False, False, True]] * 2])
    out = SinePositionEmbedding(256, temperature=20.0, offset=0.0)(padding)[0, :, 0, 1]
    scale = 20 ** (2 / 128)
    wanted_y = [math.sin(math.pi), math.cos(math.pi), math.sin(math.pi / scale), math.cos(math.pi / scale)]
    wanted_x = [math.sin(2 * math.pi), math.cos(2 * math.pi), math.sin(2 * math.pi / scale)]
    torch.testing.assert_close(out[:4], torch.tensor(wanted_y), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[128:131], torch.tensor(wanted_x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_position_does_not_depend_on_padding(offset: float) -> None:
    embed = SinePositionEmbedding(32, temperature=10000.0, offset=offset)
    alone = embed(torch.zeros(1, 4, 6, dtype=torch.bool))
    padding = torch.ones(1, 9, 8, dtype=torch.bool)
    padding[:, :4, :6] = False
    torch.testing.assert_close(embed(padding)[:, :, :4, :6], alone, atol=1e-5, rtol=0)


def test_box_embedding_orders_the_coordinates() -> None:
    box = torch.tensor([0.3, 0.6, 0.2, 0.4])
    out = box_sine_embedding(box, 128, (1, 0, 2, 3), 10000.0)
    found = out[[0, 1, 128, 129, 256, 257, 384, 385]]
    wanted = [-0.587786, -0.809017, 0.951056, -0.309017, 0.951057, 0.309017, 0.587785, -0.809017]
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-5, rtol=0)
    swapped = box_sine_embedding(box, 128, (0, 1, 2, 3), 10000.0)
    torch.testing.assert_close(swapped[:128], out[128:256])


def test_width_must_hold_sine_and_cosine_of_both_axes() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        SinePositionEmbedding(30, 20.0, 0.0)


def test_columns_may_have_a_temperature_of_their_own() -> None:
    padding = torch.zeros(1, 4, 4, dtype=torch.bool)
    one, other = SinePositionEmbedding(32, 20.0, 0.0)(padding), SinePositionEmbedding(32, 7.0, 0.0)(padding)
    both = SinePositionEmbedding(32, 20.0, 0.0, temperature_x=7.0)(padding)
    assert torch.equal(both, torch.cat([one[:, :16], other[:, 16:]], 1))
