"""Published files of backbones: every weight gets its place in the backbone of a model, or is named in the log.

A file that leaves a weight of the network out, holds one that has no place, or one of another shape is refused: it is
of another architecture.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from querydet.checkpoint.conversion.backbone_layouts import BUFFERS, COMPUTED, LAYOUTS, VIT, Layout
from querydet.checkpoint.conversion.patches import fit_patches, fit_positions
from querydet.utils.texts import listed

SHOWN = 12
BACKBONE = "backbone."
INNER_NETWORKS = ("bottom_up", "net")  # of Detectron2's FPN and SimpleFeaturePyramid, and of adapters
REFUSAL = "the checkpoint holds the weights of a backbone, but not of this model's backbone"
OWN = "the names of this backbone"
ABSENT = "of a part that this backbone does not have"
# What no published file has: norms of the maps that a detector reads, relative positions of ViTDet
_OUTPUT = re.compile(r"norm\d\.")
NEW = (_OUTPUT, re.compile(r".*\.rel_pos_[hw]$"))
_STAGE = re.compile(r"(res|stages\.|layers\.|norm)\d+\.")
_FLAT = re.compile(r"([a-z]+)_(\d+)\.")  # timm's feature extractor has stages_0 for stages.0


@dataclass
class Placed:
    """The weights of a published backbone under the names of a model's backbone.

    Args:
        layout: name of the layout of the file.
        state: the weights.
        mapped: name in the file to the name in the backbone.
        dropped: name in the file to the reason.
        new: names of the backbone that keep their initial weights.
        notes: messages for the user.
    """

    layout: str
    state: dict[str, Tensor] = field(default_factory=dict)
    mapped: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return where the weights went, a line for each reason to leave some out."""
        lines = [f"a file in {self.layout}: {len(self.state)} weights have a place", *self.notes]
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            lines.append(f"not used, {reason}: {listed(names, SHOWN)}")
        if self.new:
            lines.append(f"newly initialized in the backbone: {listed(self.new, SHOWN)}")
        return "\n  ".join(lines)


def place_backbone(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], prefix: str = "", own_names: bool = True
) -> Placed | None:
    """Give the weights of a published backbone the names of a model's backbone.

    Args:
        state: weights of the file.
        own: state dict of the model's backbone.
        prefix: beginning of the names of its network, where that is inside of a pyramid or an adapter, such as "net.".
        own_names: whether the names of the network are a layout, if the file has no other.

    Returns:
        The weights; None if the file has no known layout, or is no backbone.

    Raises:
        ValueError: the file is of another architecture; the message names the weights.
    """
    network = {_unflattened(name.removeprefix(prefix)): name for name in own if name.startswith(prefix)}
    network |= {name: name for name in own if prefix and _OUTPUT.match(name)}  # norms around the network
    layouts = [layout for layout in LAYOUTS if layout.is_file(state)]
    fitting = next((layout for layout in layouts if layout.is_network(network)), None)
    if fitting is not None:
        placed, wrong = _by_layout(state, own, network, fitting)
    elif (own_names or layouts) and any(_unflattened(name) in network for name in state):
        placed, wrong = _by_own_names(state, own, network)
    elif layouts:
        raise ValueError(
            f"{REFUSAL}: the names are those of {layouts[0].name}, and no rule turns them into names such as "
            f"{listed(network, 3)}"
        )
    else:
        return None
    wrong += _differences(placed, own, network)
    if wrong:
        lines = wrong[:SHOWN] + [f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN)
        raise ValueError("\n    ".join([f"{REFUSAL}\n  read as a file in {placed.layout}, in which", *lines]))
    placed.new += [name for name in own if not name.startswith(prefix) and name not in {*placed.state, *placed.new}]
    return placed


def network_prefix(backbone: object) -> str:
    """Return the beginning of the names of the network that published files have: of that inside of a pyramid."""
    prefix = ""
    while inner := next((name for name in INNER_NETWORKS if isinstance(getattr(backbone, name, None), nn.Module)), ""):
        prefix, backbone = f"{prefix}{inner}.", getattr(backbone, inner)
    return prefix


def _differences(placed: Placed, own: Mapping[str, Tensor], network: Mapping[str, str]) -> list[str]:
    """List weights of other shapes, and missing ones that published files have; note those that they lack."""
    wrong = []
    for name, value in placed.state.items():
        if value.shape != own[name].shape:
            shapes = f"the shape {tuple(value.shape)} in the file, {tuple(own[name].shape)} in the model"
            wrong.append(f"{BACKBONE}{name} has {shapes}")
    for ours, name in network.items():
        if name in placed.state or name.endswith(BUFFERS):
            continue
        is_vector = own[name].dim() < 2  # of a backbone that no layout is known of, such as a norm of its outputs
        if any(pattern.match(ours) for pattern in NEW) or (is_vector and placed.layout == OWN):
            placed.new.append(name)
        else:
            wrong.append(f"{BACKBONE}{name} is missing in the file")
    return wrong


def _by_layout(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], network: Mapping[str, str], layout: Layout
) -> tuple[Placed, list[str]]:
    placed, wrong = Placed(layout.name), []
    for theirs, ours in layout.our_names(state).items():
        name = network.get(ours or "")
        if (reason := layout.reason_to_drop(theirs)) is not None and (name is None or reason == COMPUTED):
            placed.dropped[theirs] = reason
        elif name is not None:
            placed.state[name] = _fitted(state[theirs], own[name], name, layout, placed)
            placed.mapped[theirs] = name
        elif ours == "pos_embed":
            placed.dropped[theirs] = "the backbone has no absolute positions"
        elif (stage := _STAGE.match(ours or "")) and not any(own_name.startswith(stage[0]) for own_name in network):
            placed.dropped[theirs] = ABSENT
        else:
            wrong.append(f"{theirs} of the file has no place in the model")
    return placed, wrong


def _fitted(value: Tensor, own: Tensor, name: str, layout: Layout | None, placed: Placed) -> Tensor:
    """Return a weight in the shape of ours, where a published recipe or the layout says how."""
    if value.shape == own.shape:
        return value
    if layout and layout.squeezed and value.shape == own.shape[:2] and own.shape[2:] == (1, 1):
        return value[:, :, None, None]
    resized = value
    if name.endswith("pos_embed"):
        resized = fit_positions(value, own.shape)
    elif name.endswith("patch_embed.proj.weight") and layout and layout.network == VIT:
        resized = fit_patches(value, own.shape)
    if resized is not value:
        placed.notes.append(f"{name} was resized from {tuple(value.shape)} to {tuple(own.shape)}")
    return resized


def _by_own_names(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], network: Mapping[str, str]
) -> tuple[Placed, list[str]]:
    """Place the weights of a file with the names of the network; whole modules that it lacks are not used."""
    placed, wrong = Placed(OWN), []
    flat = {_unflattened(name) for name in network.values()} - set(network.values())
    units = {_unit(name, flat) for name in network}
    for theirs, value in state.items():
        name = network.get(_unflattened(theirs))
        if name is not None:
            placed.state[name] = _fitted(value, own[name], name, None, placed)
            placed.mapped[theirs] = name
        elif theirs.endswith(BUFFERS):
            placed.dropped[theirs] = COMPUTED
        elif _unit(_unflattened(theirs), flat) not in units:
            placed.dropped[theirs] = ABSENT
        else:
            wrong.append(f"{theirs} of the file has no place in the model")
    return placed, wrong


def _unit(name: str, flat: Iterable[str]) -> str:
    """Return the module of a name: its first word, with the number behind it where the network's modules have one."""
    words = name.split(".")
    return ".".join(words[:2]) if any(other.startswith(f"{words[0]}.") for other in flat) else words[0]


def _unflattened(name: str) -> str:
    return _FLAT.sub(r"\1.\2.", name, count=1) if _FLAT.match(name) else name
