"""Position embeddings of maps without padding are computed once for a size."""

import pytest
import torch

from querydet.fusion import PackedLayers, exchange_modules
from querydet.fusion.neck import SIZES, FusedPosition
from querydet.fusion.rules import RULES
from querydet.modeling.layers import SinePositionEmbedding

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
