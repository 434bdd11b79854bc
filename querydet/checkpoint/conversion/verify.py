"""Do converted weights cover a config's model exactly? Asked without memory for a second model."""

import copy
from collections.abc import Mapping

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from omegaconf import DictConfig
from torch import Tensor, nn

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.convert import Conversion, nearest

SHOWN = 20


class GivenMaps(Backbone):
    """Stands for the backbone of weights that have none.

    Args:
        channels: of each map, by name.
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.channels = dict(channels)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps as they are given."""
        return features

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Their channels."""
        return {name: ShapeSpec(channels=count) for name, count in self.channels.items()}


def verify(conversion: Conversion, model: DictConfig, backbone: bool = True) -> nn.Module:
    """Refuse converted weights that do not cover a model exactly.

    Args:
        conversion: the converted weights.
        model: the ``model`` node of a config.
        backbone: whether the weights have a backbone.

    Returns:
        The model, without values.

    Raises:
        ValueError: naming every missing key, every key that is left over and every wrong shape, in their names.
    """
    if not backbone:
        model = copy.deepcopy(model)
        model.backbone = L(GivenMaps)(channels=dict(model.neck.in_channels))
    built = build_on_meta(model)
    wanted = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    state, family, sizes = conversion.state, conversion.family, conversion.sizes
    theirs = {ours: name for name, ours in conversion.mapped.items()}
    missing = {name: family.their_name(name, sizes) or name for name in wanted if name not in state}
    left = [theirs.get(name, name) for name in state if name not in wanted]
    lines = [f"missing: {name} (ours: {ours})" for ours, name in missing.items()]
    lines += [f"left over: {name}{nearest(name, missing.values())}" for name in left]
    lines += [
        f"of another shape: {theirs.get(name, name)} is {tuple(value.shape)}, the model has {wanted[name]}"
        for name, value in state.items()
        if name in wanted and tuple(value.shape) != wanted[name]
    ]
    if lines:
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        text = "".join(f"\n  {line}" for line in lines[:SHOWN])
        raise ValueError(
            f"the {family.name} weights do not cover the model exactly, which would leave random ones:{text}{more}\n"
            "  Where the config was given, change it to these shapes or leave --config-file out to get one that fits"
        )
    return built
