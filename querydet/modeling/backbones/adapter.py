"""What the backbones of other libraries have in common: maps by stride, frozen parts, padding and normalisation.

`timm.TimmBackbone` and `torchvision.TorchvisionBackbone` build the networks. Weights keep the names that the library
gives them, behind `net.`; nothing is ever downloaded while a model is built.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from querydet.modeling.backbones.probing import LEAST_SIDE, Probe, attends, probes, unused_parameters
from querydet.utils.texts import listed

NORMS = ("FrozenBN", "BN", "SyncBN")  # Detectron2's names
SHOWN = 20
# what libraries raise, besides ValueError, for names and options that they do not know
BUILDING = (TypeError, KeyError, AttributeError, AssertionError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """What is to be made of a network.

    Args:
        out_features: names of the maps, fine to coarse; "p3" has stride 2^3 = 8.
        norm: what becomes of its batch norms: "FrozenBN" keeps the statistics and the scales of the weights, "BN"
            trains them, "SyncBN" trains them on all processes together. Other norms stay as they are.
        freeze: names of modules and parameters of the network that are not trained; such modules stay in evaluation
            mode, without dropout and stochastic depth.
        pad_to_divisor: whether batches are padded so far that no map is rounded down. False: as far as the network
            demands; where maps are rounded down, boxes are then stretched by up to (side mod stride) / side, as in the
            released codes that pad to the largest image of a batch.
        square_pad: side of a square that every batch is padded to, for networks that take one size; 0: none.
        pixel_mean, pixel_std: of the images that the weights were trained on, in RGB from 0 to 255; None: those that
            the library names.
    """

    out_features: Sequence[str] = ("p3", "p4", "p5")
    norm: str = "FrozenBN"
    freeze: Sequence[str] = ()
    pad_to_divisor: bool = True
    square_pad: int = 0
    pixel_mean: Sequence[float] | None = None
    pixel_std: Sequence[float] | None = None


@dataclass(frozen=True)
class _Choice:
    """The maps of a network that are used."""

    divisor: int
    indices: tuple[int, ...]
    channels_last: tuple[bool, ...]
    shapes: Mapping[str, ShapeSpec] = field(default_factory=dict)


class Adapter(Backbone):
    """A network of another library as a Detectron2 backbone.

    Args:
        name: of the network, for messages.
        net: the network.
        settings: what is to be made of it.
        pixels: mean and standard deviation that the library names, in RGB from 0 to 255.

    Raises:
        ValueError: the network has no maps of these strides, takes no sizes that they cover, or lacks a part that is to
            be frozen.
    """

    input_format = "RGB"

    def __init__(
        self, *, name: str, net: nn.Module, settings: AdapterSettings, pixels: tuple[Sequence[float], Sequence[float]]
    ) -> None:
        super().__init__()
        if settings.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, found {settings.norm!r}")
        self.name = name
        self.net = self.with_norm(net, settings.norm)
        self.pixel_mean = tuple(pixels[0] if settings.pixel_mean is None else settings.pixel_mean)
        self.pixel_std = tuple(pixels[1] if settings.pixel_std is None else settings.pixel_std)
        self._square = settings.square_pad
        self._choice = self._choose(settings)
        self.drop_unused(self._choice.indices)
        self._freeze_unused()
        self._frozen = freeze(self.net, settings.freeze, name)
        self.train(self.training)

    @abstractmethod
    def with_norm(self, net: nn.Module, norm: str) -> nn.Module:
        """Return the network with its batch norms turned into those of `NORMS`."""

    @abstractmethod
    def all_maps(self, images: Tensor) -> Sequence[Tensor]:
        """Return all maps of the network of images (B, 3, H, W), fine to coarse."""

    @abstractmethod
    def drop_unused(self, indices: Sequence[int]) -> None:
        """Drop the parts of the network that these of its maps do not need: they would get no gradients."""

    @abstractmethod
    def maps(self, images: Tensor, indices: Sequence[int]) -> Sequence[Tensor]:
        """Return maps by their indices in `all_maps`."""

    @property
    def size_divisibility(self) -> int:
        """The divisor of heights and widths that the network takes."""
        return self._choice.divisor

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The same, and the side of the square that batches are padded to."""
        return {"size_divisibility": self.size_divisibility, "square_size": self._square}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of every map by its name."""
        return dict(self._choice.shapes)

    def train(self, mode: bool = True) -> "Adapter":
        """Set the mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps (B, C, H / stride, W / stride) of images (B, 3, H, W), by name.

        Raises:
            ValueError: height or width is no multiple of `size_divisibility`.
        """
        height, width = images.shape[-2:]
        if height % self.size_divisibility or width % self.size_divisibility:
            raise ValueError(
                f"{self.name} takes images whose sides are multiples of {self.size_divisibility}, found "
                f"{height}x{width}: pad them by querydet.modeling.backbones.pad_batch"
            )
        made = self._used_maps(images)
        return {
            name: each.permute(0, 3, 1, 2).contiguous() if last else each
            for name, each, last in zip(self._choice.shapes, made, self._choice.channels_last, strict=True)
        }

    def _freeze_unused(self) -> None:
        """Take parameters out of training that no map depends on: processes wait for the gradients of all others."""
        parameters = dict(self.net.named_parameters())
        for name in unused_parameters(self.net, self._used_maps, self._some_size()):
            parameters[name].requires_grad_(False)

    def attends(self) -> bool:
        """Return whether pixels attend to each other; windows and positions are then laid out for the size."""
        return attends(self.net, self._used_maps, self._some_size())

    def _used_maps(self, images: Tensor) -> Sequence[Tensor]:
        return self.maps(images, self._choice.indices)

    def _some_size(self) -> tuple[int, int]:
        side = self._square or self.size_divisibility * -(-LEAST_SIDE // self.size_divisibility)
        return side, side

    def _choose(self, settings: AdapterSettings) -> _Choice:
        strides = [_stride(name) for name in settings.out_features]
        if not strides or strides != sorted(set(strides)):
            raise ValueError(f"out_features must name maps from fine to coarse, found {list(settings.out_features)}")
        if settings.square_pad % strides[-1]:
            raise ValueError(f"square_pad must be a multiple of the stride {strides[-1]}, found {settings.square_pad}")
        seen: list[Probe] = []
        try:
            for probe in probes(self.net, self.all_maps, settings.square_pad):
                seen.append(probe)
                found = {facts.stride: index for index, facts in enumerate(probe.maps)}
                maps = [probe.maps[found[stride]] for stride in strides if stride in found]
                if len(maps) == len(strides) and (all(each.covers for each in maps) or not settings.pad_to_divisor):
                    return _Choice(
                        divisor=probe.divisor,
                        indices=tuple(found[stride] for stride in strides),
                        channels_last=tuple(each.channels_last for each in maps),
                        shapes={
                            name: ShapeSpec(channels=each.channels, stride=each.stride)
                            for name, each in zip(settings.out_features, maps, strict=True)
                        },
                    )
                if len(maps) < len(strides) and all(each.covers for each in probe.maps):
                    break  # these are all of its strides, whatever the size is
        except ValueError as error:
            raise ValueError(f"{self.name} cannot be used at any size: {error}. {_SQUARE}") from error
        raise ValueError(f"{self.name} {_shortcoming(seen, strides)}")


_SQUARE = (
    "If the library lets its image size be set, square_pad=1024 builds it for that size and pads every image to it; "
    "else take another backbone"
)


def _stride(name: str) -> int:
    if not re.fullmatch(r"p\d", name):
        raise ValueError(f"maps are named by the logarithm of their stride, 'p3' to 'p5' for 8 to 32; found '{name}'")
    return 2 ** int(name[1:])


def _shortcoming(seen: Sequence[Probe], strides: Sequence[int]) -> str:
    """Say why no probe has maps of these strides that cover the image."""
    there = sorted({facts.stride for probe in seen for facts in probe.maps if facts.stride})
    absent = [stride for stride in strides if stride not in there]
    wanted, found = (listed(map(str, each), SHOWN) for each in (absent or strides, there))
    if not absent:
        return f"takes no size at which its maps of stride {wanted} cover the image. {_SQUARE}"
    if not there:
        return (
            "has no map whose sides are those of the image divided by a power of 2, as transformers on patches of 14 "
            "pixels have none (timm's options={patch_size: 16} builds them on 16): take another backbone"
        )
    names = ", ".join(f"p{stride.bit_length() - 1}" for stride in there)
    advice = f"set out_features to some of {names}"
    if len(there) == 1:
        advice = f"set out_features=[{names}] and put it into Detectron2's SimpleFeaturePyramid, or take another"
    return f"has no map of stride {wanted}, only of stride {found}: {advice}"


def freeze(net: nn.Module, names: Sequence[str], owner: str) -> list[nn.Module]:
    """Take modules and parameters out of training.

    Args:
        net: has them.
        names: their names in it.
        owner: name of the network, for messages.

    Returns:
        The modules among them, which are to stay in evaluation mode.

    Raises:
        ValueError: the names are one text, or the network lacks one of them.
    """
    if isinstance(names, str):
        raise ValueError(f"freeze must be a list of names, found the text {names!r}")
    modules, parameters = dict(net.named_modules()), dict(net.named_parameters())
    unknown = [name for name in names if not name or (name not in modules and name not in parameters)]
    if unknown:
        own = [name for name, _ in [*net.named_children(), *net.named_parameters(recurse=False)]]
        raise ValueError(f"{owner} has no {listed(unknown, SHOWN)} to freeze; its parts are {listed(own, SHOWN)}")
    for name in names:
        (modules.get(name) or parameters[name]).requires_grad_(False)
    return [modules[name] for name in names if name in modules]


def check_options(options: Mapping[str, Any], reserved: Mapping[str, str]) -> dict[str, Any]:
    """Return options for a constructor of a library, as plain values.

    Args:
        options: by name.
        reserved: names of options that are refused, with the reason.

    Raises:
        ValueError: one of them is reserved.
    """
    for name in options:
        if name in reserved:
            raise ValueError(f"options.{name} is not available: {reserved[name]}")
    return {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in options.items()
    }
