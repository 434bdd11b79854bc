import math

import pytest
import torch
from torch import nn

from querydet.modeling.layers import MLP, xavier_mlp


def test_rectified_between_the_layers_and_not_after_the_last() -> None:
    torch.manual_seed(0)
    mlp = MLP(2, 3, 2, num_layers=3)
    mlp.layers[-1].bias.data.fill_(-9)
    values = torch.randn(4, 5, 2)
    first, second, last = mlp.layers
    torch.testing.assert_close(mlp(values), last(second(first(values).relu()).relu()))
    assert (mlp(values) < 0).all()


@pytest.mark.parametrize(
    ("num_layers", "widths"), [(1, [(2, 5)]), (2, [(2, 7), (7, 5)]), (3, [(2, 7), (7, 7), (7, 5)])]
)
def test_widths(num_layers: int, widths: list[tuple[int, int]]) -> None:
    layers = MLP(2, 7, 5, num_layers).layers
    assert [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)] == widths


def test_xavier_weights() -> None:
    torch.manual_seed(0)
    for layer in xavier_mlp(60, 90, 60, num_layers=2).layers:
        assert isinstance(layer, nn.Linear)
        bound = math.sqrt(6 / 150)
        assert 0.95 * bound < layer.weight.abs().max() <= bound
