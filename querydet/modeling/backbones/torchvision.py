"""Classifiers of torchvision as Detectron2 backbones: all whose layers follow one another.

Different from torchvision's `create_feature_extractor`: nothing is traced. The layers in front of the classifier are
called one after the other, so that training and evaluation run the same code, and their weights keep the names of
torchvision's files.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torchvision
from detectron2.layers import FrozenBatchNorm2d
from torch import Tensor, nn

from querydet.modeling.backbones.adapter import BUILDING, Adapter, AdapterSettings, check_options
from querydet.utils.real_values import RealValues
from querydet.utils.texts import nearest

TRUNKS = ("features", "layers", "trunk_output", "blocks")  # stacks whose members are layers of their own
HEADS = ("avgpool", "head", "heads", "fc", "classifier", "norm", "permute", "flatten")  # begin the classifier
REGNET = (torch.arange, torch.tensor)  # by which RegNet computes its widths while it is built, also on the meta device
RESERVED = dict.fromkeys(
    ("weights", "weights_backbone", "pretrained"),
    "weights are loaded by train.init_checkpoint, and nothing is downloaded",
)


class TorchvisionBackbone(Adapter):
    """A classifier of torchvision without its head.

    Args:
        name: torchvision's name of the network, such as "convnext_tiny".
        out_features, norm, freeze, pad_to_divisor, square_pad, pixel_mean, pixel_std: see `adapter.AdapterSettings`.
        options: further arguments of the network, such as `stochastic_depth_prob`.

    Raises:
        ValueError: torchvision has no such network, or it cannot serve (see `adapter.Adapter`).
    """

    def __init__(
        self,
        *,
        name: str,
        out_features: Sequence[str] = ("p3", "p4", "p5"),
        norm: str = "FrozenBN",
        freeze: Sequence[str] = (),
        pad_to_divisor: bool = True,
        square_pad: int = 0,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        net = _build(name, check_options(options or {}, RESERVED), square_pad)
        self._layers = list(_layers(net))
        settings = AdapterSettings(
            out_features=out_features,
            norm=norm,
            freeze=freeze,
            pad_to_divisor=pad_to_divisor,
            square_pad=square_pad,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
        )
        super().__init__(name=name, net=net, settings=settings, pixels=_pixels(name))

    def with_norm(self, net: nn.Module, norm: str) -> nn.Module:
        """Turn batch norms into others."""
        if norm == "FrozenBN":
            return FrozenBatchNorm2d.convert_frozen_batchnorm(net)
        return nn.SyncBatchNorm.convert_sync_batchnorm(net) if norm == "SyncBN" else net

    def all_maps(self, images: Tensor) -> Sequence[Tensor]:
        """Return the outputs of all layers for images (B, 3, H, W)."""
        maps = []
        for name in self._layers:
            images = self.net.get_submodule(name)(images)
            maps.append(images)
        return maps

    def maps(self, images: Tensor, indices: Sequence[int]) -> Sequence[Tensor]:
        """Return maps of images (B, 3, H, W)."""
        maps = self.all_maps(images)
        return [maps[index] for index in indices]

    def drop_unused(self, indices: Sequence[int]) -> None:
        """Drop layers behind the last map, and the classifier."""
        self._layers = self._layers[: max(indices) + 1]
        _keep(self.net, set(self._layers))


def _build(name: str, options: Mapping[str, Any], square: int) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = ", ".join(nearest(name, known, 3))
        raise ValueError(
            f"torchvision {torchvision.__version__} has no classifier '{name}'; the nearest names are {near}"
        )
    if square and name.startswith("maxvit"):
        options = {"input_size": (square, square), **options}
    try:
        with RealValues(*(REGNET if name.startswith("regnet") else ())):
            return torchvision.models.get_model(name, weights=None, **options)
    except BUILDING as error:
        raise ValueError(f"torchvision cannot build '{name}' with {dict(options)}: {error}") from error


def _layers(net: nn.Module) -> Iterator[str]:
    """Yield the names of the layers in front of the classifier, in order."""
    for name, child in net.named_children():
        if name in HEADS:
            return
        if name in TRUNKS and isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (f"{name}.{inner}" for inner, _ in child.named_children())
        else:
            yield name


def _keep(net: nn.Module, names: set[str]) -> None:
    for name, child in list(net.named_children()):
        inner = {each.removeprefix(f"{name}.") for each in names if each.startswith(f"{name}.")}
        if inner:
            _keep(child, inner)
        elif name not in names:
            delattr(net, name)


def _pixels(name: str) -> tuple[list[float], list[float]]:
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()  # reads no file
    return [255.0 * value for value in transforms.mean], [255.0 * value for value in transforms.std]
