"""Where there is no padding, fused parts of the neck leave out what it costs."""

import pytest
import torch

from querydet.fusion import PackedLayers, exchange_modules
from querydet.fusion.neck import SIZES, FusedBlank, FusedPosition, FusedProjection
from querydet.fusion.rules import RULES
from querydet.modeling.layers import SinePositionEmbedding
from querydet.modeling.layers.padding import BlankPadding
from querydet.modeling.neck import Projection

pytestmark = [
    pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"),
    pytest.mark.usefixtures("no_gradients"),
]


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


def fused(module):
    return exchange_modules(module.eval(), PackedLayers(), RULES)


def some_padding(batch, height, width):
    padding = torch.zeros(batch, height, width, dtype=torch.bool)
    padding[0, height - 2 :] = padding[-1, :, width - 2 :] = True
    return padding


@pytest.mark.parametrize("padded", ["never", "nothing", "some", "all"])
def test_projections(padded):
    projection, maps = Projection(8, 32, 1), torch.randn(2, 8, 6, 7)
    padding = None if padded == "never" else torch.full((2, 6, 7), padded == "all")
    padding = some_padding(2, 6, 7) if padded == "some" else padding
    expected, found = projection(maps, padding), fused(projection)
    assert isinstance(found, FusedProjection)
    torch.testing.assert_close(found(maps, padding), expected, rtol=1e-4, atol=2e-5)


def test_blanking_copies_nothing_where_there_is_no_padding():
    blank, values = fused(BlankPadding(1)), torch.randn(2, 3, 5, 6)
    assert isinstance(blank, FusedBlank)
    assert blank(values, torch.zeros(2, 5, 6, dtype=torch.bool)) is values
    padding = some_padding(2, 5, 6)
    assert torch.equal(blank(values, padding), BlankPadding(1)(values, padding))


def test_positions_are_kept_for_some_sizes_and_those_of_padding_never():
    embedding = SinePositionEmbedding(8, 20.0, 0.0)
    position = fused(embedding)
    assert isinstance(position, FusedPosition)
    for width in (*range(3, SIZES + 6), 3):
        padding = torch.zeros(1, 4, width, dtype=torch.bool)
        assert torch.equal(position(padding), embedding(padding))
        assert position(padding) is position(padding)
        assert len(position.kept) <= SIZES
    padding = some_padding(1, 4, 3)
    assert torch.equal(position(padding), embedding(padding))
