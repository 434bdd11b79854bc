"""Layers that watch compute what packed layers do, and find the range of what they saw."""

import pytest
import torch
from torch import nn

from querydet.fusion import PackedLayers
from querydet.fusion.folding import Folded
from querydet.ops.quantize import quantize
from querydet.quantization import defaults, observed
from querydet.quantization.layers import numbers_of
from querydet.quantization.observed import SAMPLES, ObservedLayers, ObservedRange


def test_the_range_is_that_of_all_images_in_any_order():
    images = [torch.tensor([-1.0, 0.5]), torch.tensor([3.0, 0.0]), torch.tensor([0.1])]
    grids = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        watched = ObservedRange("minmax")
        assert not watched.seen
        for index in order:
            watched.watch(images[index])
        grids.append(watched.grid())
    assert grids[0] == grids[1] == grids[2]
    assert grids[0].scale == pytest.approx(4 / 255)
    assert grids[0].zero_point == round(255 / 4)


def test_a_range_holds_zero_whatever_was_seen():
    watched = ObservedRange("minmax")
    watched.watch(torch.tensor([2.0, 4.0]))
    assert watched.grid().zero_point == 0
    assert watched.grid().scale == pytest.approx(4 / 255)


def test_a_histogram_loses_no_more_than_the_whole_range():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(SAMPLES, generator=generator) ** 5
    lost = {}
    for name in ("minmax", "histogram"):
        watched = ObservedRange(name)
        watched.watch(values)
        grid = watched.grid()
        codes = quantize(values, grid.scale, grid.zero_point)
        lost[name] = (numbers_of(codes, grid, torch.float32) - values).square().mean()
    assert lost["histogram"] < lost["minmax"]


@pytest.mark.parametrize("relu", [False, True])
def test_a_watched_layer_computes_what_a_packed_one_does(relu):
    torch.manual_seed(0)
    linear, values = nn.Linear(6, 4), torch.randn(2, 3, 6)
    watched = ObservedLayers().linear(linear, relu)
    torch.testing.assert_close(watched(values), PackedLayers().linear(linear, relu)(values))
    folded = Folded(torch.randn(4, 3, 3, 3), torch.randn(4), (2, 2), (1, 1), (1, 1), 1)
    maps, addend = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)
    watched = ObservedLayers().conv(folded, relu)
    torch.testing.assert_close(watched(maps, addend), PackedLayers().conv(folded, relu)(maps, addend))


def test_layers_of_classes_and_boxes_are_not_watched():
    layer = ObservedLayers().full_precision().linear(nn.Linear(6, 4))
    layer(torch.randn(2, 6))
    assert layer.codes() is None
    assert layer.in_float(torch.bfloat16).dtype == torch.float32


def test_a_layer_that_saw_nothing_has_no_codes():
    assert ObservedLayers().linear(nn.Linear(6, 4)).codes() is None


def test_the_command_offers_every_observer() -> None:
    assert tuple(observed.OBSERVERS) == defaults.OBSERVER_NAMES
