"""Which maps networks make of which sizes, on networks of known arithmetic."""

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.backbones.probing import Probe, attends, probes, unused_parameters


class Convolutions(nn.Module):
    """One convolution of stride 2 after the other; padded ones round up, others down."""

    def __init__(self, count: int, kernel: int = 3, padding: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(4 if index else 3, 4, kernel, stride=2, padding=padding) for index in range(count)
        )

    def maps(self, images: Tensor) -> list[Tensor]:
        made = []
        for layer in self.layers:
            images = layer(images)
            made.append(images)
        return made


def first(net: nn.Module, run, square: int = 0) -> Probe:
    return next(iter(probes(net, run, square)))


def test_maps_that_are_rounded_up_fit_every_size() -> None:
    net = Convolutions(3)
    probe = first(net, net.maps)
    assert probe.divisor == 1
    assert [(each.stride, each.channels, each.covers) for each in probe.maps] == [
        (2, 4, True),
        (4, 4, True),
        (8, 4, True),
    ]


def test_maps_that_are_rounded_down_fit_sizes_that_nothing_rounds() -> None:
    net = Convolutions(3, kernel=2, padding=0)
    rounded, whole = [each for each in probes(net, net.maps) if each.divisor in (1, 32)]
    assert [(each.stride, each.covers) for each in rounded.maps] == [(2, False), (4, False), (8, False)]
    assert all(each.covers for each in whole.maps)


def test_a_network_that_refuses_sizes_is_given_multiples() -> None:
    """As windows of 7 at stride 32 do."""
    net = Convolutions(1)

    def run(images: Tensor) -> list[Tensor]:
        assert images.shape[-2] % 224 == 0, "windows"
        return net.maps(images)

    assert first(net, run).divisor == 224


def test_a_network_of_one_size_takes_no_multiples_and_that_size() -> None:
    net = Convolutions(1)

    def run(images: Tensor) -> list[Tensor]:
        if tuple(images.shape[-2:]) != (96, 96):
            raise RuntimeError("positions of 96")
        return net.maps(images)

    with pytest.raises(ValueError, match="takes images of no size that was tried: positions of 96"):
        first(net, run)
    assert first(net, run, square=96) == Probe(96, first(net, net.maps).maps)


def test_channels_may_be_the_last_dimension() -> None:
    net = Convolutions(1)
    (facts,) = first(net, lambda images: [net.maps(images)[0].permute(0, 2, 3, 1)]).maps
    assert (facts.channels, facts.stride, facts.channels_last) == (4, 2, True)


def test_patches_of_14_have_no_stride() -> None:
    net = nn.Conv2d(3, 4, 14, stride=14)
    assert [facts.stride for facts in first(net, lambda images: [net(images)]).maps] == [0]


def test_a_sequence_of_tokens_is_no_map() -> None:
    net = nn.Conv2d(3, 4, 2, stride=2)
    assert [facts.stride for facts in first(net, lambda images: [net(images).flatten(2)]).maps] == [0]


def test_parameters_that_lead_to_other_maps_alone_are_found() -> None:
    net = Convolutions(3)
    assert unused_parameters(net, lambda images: net.maps(images)[:2], (64, 96)) == ["layers.2.weight", "layers.2.bias"]
    assert unused_parameters(net, net.maps, (64, 96)) == []
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_the_network_is_left_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)).train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first(net, lambda images: [net(images)])
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_attention_is_found_by_its_products() -> None:
    net = Convolutions(1)

    def attending(images: Tensor) -> list[Tensor]:
        tokens = net.maps(images)[0].flatten(2).transpose(1, 2)
        return [nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)]

    assert attends(net, attending, (64, 64))
    assert not attends(net, net.maps, (64, 64))
