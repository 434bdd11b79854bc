"""What a pass of an oracle gives: predictions, and everything on the way that recordings name."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Outputs:
    """Predictions of one layer of one group.

    Args:
        name: as in the recordings: "" of the last layer, "aux0/", "o2m/aux0/", "enc/", "interm/", "dn/" and so on.
        logits: (B, N, K).
        boxes: (B, N, 4).
        anchors: (B, N, 4), boxes before the head, of encoder tokens.
    """

    name: str
    logits: Tensor
    boxes: Tensor
    anchors: Tensor | None = None


@dataclass
class Run:
    """A pass.

    Args:
        outputs: by their names.
        middle: further tensors, by what follows "eval/" or "trainA/" in the recordings.
        matches: pairs (2, n) of each image, rows of predictions over rows of objects, by the name of the call.
        losses: before weighting, by name.
        ties: number of selected tokens of equal score.
    """

    outputs: dict[str, Outputs] = field(default_factory=dict)
    middle: dict[str, Tensor] = field(default_factory=dict)
    matches: dict[str, list[Tensor]] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)
    ties: int = 0

    def add(self, name: str, logits: Tensor, boxes: Tensor, anchors: Tensor | None = None) -> None:
        self.outputs[name] = Outputs(name, logits, boxes, anchors)


@dataclass
class Objects:
    """The objects of an image: labels (G,), boxes (G, 4)."""

    labels: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def layer_name(index: int, layers: int) -> str:
    """Of a decoder layer's predictions in the recordings."""
    return "" if index == layers - 1 else f"aux{index}/"


def loss_suffix(name: str) -> str:
    """Of the losses of a layer: "aux0/" gives "_0"."""
    return f"_{name[3:-1]}" if name else ""


def call_name(name: str) -> str:
    """Of the matches of a layer."""
    return name[:-1] if name else "final"
