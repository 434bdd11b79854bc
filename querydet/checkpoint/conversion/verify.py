"""Check that converted weights cover a config's model exactly, without memory for a second model."""

import copy
from collections.abc import Mapping

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.backbone_files import BACKBONE, network_prefix, place_backbone
from querydet.checkpoint.conversion.convert import Conversion, nearest
from querydet.checkpoint.weights import check_types

SHOWN = 20


class GivenMaps(Backbone):
    """Replaces the backbone for weights that have none: passes given maps through.

    Args:
        channels: number of channels of each map, by name.
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.channels = dict(channels)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the given maps."""
        return features

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return the channels of the maps."""
        return {name: ShapeSpec(channels=count) for name, count in self.channels.items()}


def given_maps(model: DictConfig) -> dict[str, int]:
    """Return the backbone maps that the parts of a model read, by name, with their channels.

    Args:
        model: the `model` node of a config.
    """
    read_by_masks = OmegaConf.select(model, "masks.head.in_channels") or {}
    return {**read_by_masks, **model.neck.in_channels}


def verify(conversion: Conversion, model: DictConfig, backbone: bool = True) -> nn.Module:
    """Raise an error unless converted weights cover a model exactly.

    Args:
        conversion: the converted weights.
        model: the `model` node of a config.
        backbone: whether the weights have a backbone.

    Returns:
        The model, on the meta device.

    Raises:
        ValueError: keys are missing, left over or of a wrong shape; the message lists them by their published names.
    """
    if not backbone:
        model = copy.deepcopy(model)
        model.backbone = L(GivenMaps)(channels=given_maps(model))
    built = build_on_meta(model)
    _rename_backbone(conversion, built.get_submodule("backbone"))
    expected = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    state, family, sizes = conversion.state, conversion.family, conversion.sizes
    theirs = {ours: name for name, ours in conversion.mapped.items()}
    missing = {name: family.their_name(name, sizes) or name for name in expected if name not in state}
    unexpected = [theirs.get(name, name) for name in state if name not in expected]
    lines = [f"missing: {name} (ours: {ours})" for ours, name in missing.items()]
    lines += [f"left over: {name}{nearest(name, missing.values())}" for name in unexpected]
    lines += [
        f"of another shape: {theirs.get(name, name)} is {tuple(value.shape)}, the model has {expected[name]}"
        for name, value in state.items()
        if name in expected and tuple(value.shape) != expected[name]
    ]
    check_types(conversion.state, built.state_dict(), f"the {family.name} file")
    if lines:
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        text = "".join(f"\n  {line}" for line in lines[:SHOWN])
        raise ValueError(
            f"the {family.name} weights do not cover the model exactly, which would leave random ones:{text}{more}\n"
            "  Where the config was given, change it to these shapes or leave --config-file out to get one that fits"
        )
    return built


def _rename_backbone(conversion: Conversion, backbone: nn.Module) -> None:
    """Give the weights of a backbone that is another library's here the names that it has in this model.

    Raises:
        ValueError: they are of another backbone.
    """
    own = backbone.state_dict()
    state = {
        name.removeprefix(BACKBONE): value for name, value in conversion.state.items() if name.startswith(BACKBONE)
    }
    if set(state) <= set(own) or (placed := place_backbone(state, own, network_prefix(backbone))) is None:
        return
    ours = {BACKBONE + old: BACKBONE + new for old, new in placed.mapped.items()}
    others = {name: value for name, value in conversion.state.items() if not name.startswith(BACKBONE)}
    conversion.state = others | {BACKBONE + name: value for name, value in placed.state.items()}
    for theirs, name in list(conversion.mapped.items()):
        if name.startswith(BACKBONE) and name not in ours:
            del conversion.mapped[theirs]
            conversion.dropped[theirs] = placed.dropped[name.removeprefix(BACKBONE)]
    conversion.mapped = {theirs: ours.get(name, name) for theirs, name in conversion.mapped.items()}
