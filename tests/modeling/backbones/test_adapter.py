"""What all adapters share, on a network of one line."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.backbones.adapter import Adapter, AdapterSettings, check_options, freeze
from querydet.modeling.backbones.padding import padded_size


class Patches(nn.Sequential):
    """Strides 8, 16 and 32, rounded down; dropout and batch norm in the first."""

    def __init__(self) -> None:
        first = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4), nn.Dropout(0.5))
        super().__init__(first, nn.Conv2d(4, 6, 2, stride=2), nn.Conv2d(6, 8, 2, stride=2))


class Own(Adapter):
    """An adapter to it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(name="patches", net=Patches(), settings=AdapterSettings(**settings), pixels=([1.0], [2.0]))

    def with_norm(self, net: nn.Module, norm: str) -> nn.Module:
        return net

    def all_maps(self, images: Tensor) -> Sequence[Tensor]:
        made = []
        for layer in self.net.children():
            images = layer(images)
            made.append(images)
        return made

    def maps(self, images: Tensor, indices: Sequence[int]) -> Sequence[Tensor]:
        made = self.all_maps(images)
        return [made[index] for index in indices]

    def drop_unused(self, indices: Sequence[int]) -> None:
        pass


def test_maps_have_the_names_of_their_strides_and_cover_padded_images() -> None:
    own = Own()
    assert {name: (shape.channels, shape.stride) for name, shape in own.output_shape().items()} == {
        "p3": (4, 8),
        "p4": (6, 16),
        "p5": (8, 32),
    }
    assert padded_size(own, 117, 150) == (128, 160)
    maps = own(torch.zeros(2, 3, 128, 160))
    assert {name: tuple(each.shape) for name, each in maps.items()} == {
        "p3": (2, 4, 16, 20),
        "p4": (2, 6, 8, 10),
        "p5": (2, 8, 4, 5),
    }


def test_a_batch_that_is_not_padded_is_refused() -> None:
    with pytest.raises(ValueError, match=r"patches takes images whose sides are multiples of 32, found 117x150: pad"):
        Own()(torch.zeros(1, 3, 117, 150))


def test_for_parity_no_image_is_padded_and_maps_are_rounded_down() -> None:
    own = Own(pad_to_divisor=False)
    assert padded_size(own, 117, 150) == (117, 150)
    assert tuple(own(torch.zeros(1, 3, 117, 150))["p5"].shape) == (1, 8, 3, 4)


def test_a_square() -> None:
    own = Own(square_pad=96)
    assert padded_size(own, 50, 60) == (96, 96)
    with pytest.raises(ValueError, match="does not fit into the square of 96"):
        padded_size(own, 97, 60)


def test_frozen_modules_stay_in_evaluation_mode_and_parameters_out_of_training() -> None:
    own = Own(freeze=["0", "1.bias"]).train()
    assert not any(module.training for module in own.net[0].modules())
    assert own.net[1].training
    trained = {name for name, parameter in own.net.named_parameters() if parameter.requires_grad}
    assert trained == {"1.weight", "2.weight", "2.bias"}
    statistics = own.net[0][1].running_mean.clone()
    own(torch.randn(1, 3, 32, 32))
    assert torch.equal(own.net[0][1].running_mean, statistics)
    assert Own().train().net[0][2].training


def test_parameters_behind_the_last_map_get_no_gradients_and_are_not_waited_for() -> None:
    own = Own(out_features=["p3", "p4"])
    assert {name for name, parameter in own.net.named_parameters() if not parameter.requires_grad} == {
        "2.weight",
        "2.bias",
    }


def test_what_cannot_be_frozen_is_named() -> None:
    with pytest.raises(ValueError, match=r"patches has no stem to freeze; its parts are 0, 1, 2"):
        Own(freeze=["stem"])
    with pytest.raises(ValueError, match="freeze must be a list of names, found the text '0'"):
        freeze(Patches(), "0", "patches")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out_features": ["p2", "p3"]}, r"patches has no map of stride 4, only of stride 8, 16, 32: .* p3, p4, p5"),
        ({"out_features": ["p6"]}, "no map of stride 64"),
        ({"out_features": ["res3"]}, r"named by the logarithm of their stride, .* found 'res3'"),
        ({"out_features": ["p4", "p3"]}, "from fine to coarse"),
        ({"out_features": []}, "from fine to coarse"),
        ({"square_pad": 90}, "square_pad must be a multiple of the stride 32, found 90"),
        ({"norm": "GN"}, "norm must be one of FrozenBN, BN, SyncBN, found 'GN'"),
    ],
)
def test_what_a_network_cannot_give_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Own(**settings)


class Valid(Own):
    """Its first convolution loses the border of the image, at every size."""

    def with_norm(self, net: nn.Module, norm: str) -> nn.Module:
        net[0][0].kernel_size = (7, 7)
        net[0][0].weight = nn.Parameter(torch.zeros(4, 3, 7, 7))
        net[0].insert(0, nn.Conv2d(3, 3, 33))
        return net


def test_maps_that_never_cover_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has no map whose sides|takes no size at which its maps"):
        Valid()


def test_the_normalisation_is_the_librarys_or_a_given_one() -> None:
    assert (Own().pixel_mean, Own().pixel_std) == ((1.0,), (2.0,))
    assert Own(pixel_mean=[3.0]).pixel_mean == (3.0,)


def test_reserved_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"options.pretrained is not available: no"):
        check_options({"pretrained": True}, {"pretrained": "no"})
    assert check_options({"depths": (1, 2), "name": "x"}, {}) == {"depths": [1, 2], "name": "x"}
