"""The contracts between the stages of the detector.

Letters, used everywhere: B images, L levels, S tokens (the sum of H*W over levels), C width, Q queries, K classes,
T objects of an image. Tensors are batch first. Boxes are normalised ``(cx, cy, w, h)`` of the unpadded image.
"""

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor


class Stage(str, Enum):
    """Where a prediction comes from."""

    ENCODER = "encoder"
    DECODER = "decoder"


class Role(str, Enum):
    """What a query group is there for."""

    MATCHING = "matching"  # finds objects: its predictions are assigned by an assigner
    DENOISING = "denoising"  # reconstructs objects that it was made from: its assignment is known


@dataclass(frozen=True, slots=True)
class FeaturePyramid:
    """Image features of several resolutions as one sequence of tokens, fine levels first, rows before columns."""

    tokens: Tensor  # (B, S, C)
    position: Tensor  # (B, S, C), includes the level embedding
    padding: Tensor  # (B, S) bool, True = padding
    shapes: tuple[tuple[int, int], ...]  # (H, W) of each level, host integers: reading them never waits for a device
    valid_ratios: Tensor  # (B, L, 2), the part of each level that is image, as (w, h) in (0, 1]

    @property
    def level_sizes(self) -> list[int]:
        """Number of tokens of each level."""
        return [height * width for height, width in self.shapes]


@dataclass(frozen=True, slots=True)
class Proposals:
    """One prediction for each token of the encoder."""

    features: Tensor  # (B, S, C)
    logits: Tensor  # (B, S, K)
    boxes_unsigmoid: Tensor  # (B, S, 4); +inf where not usable
    usable: Tensor  # (B, S) bool: inside the image, and the anchor not degenerate


@dataclass(frozen=True, slots=True)
class KnownPairs:
    """The (image, query, object) triples of a denoising group: which object each of its positive queries came from."""

    image: Tensor  # (n,) int64
    query: Tensor  # (n,) int64, counted from the start of the group
    object: Tensor  # (n,) int64, index into the objects of that image


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """A run of consecutive queries that is trained, and may be attended to, as one."""

    name: str
    start: int
    stop: int
    role: Role = Role.MATCHING
    sees: tuple[str, ...] = ()  # names of the other groups that its queries may attend to
    block: int | None = None  # its queries attend only within consecutive runs of this many; None: to the whole group
    copies: int = 1  # how often the group holds every object: the loss of the group is divided by it
    known: KnownPairs | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """The queries of the group in a tensor of all queries."""
        return slice(self.start, self.stop)

    def moved(self, start: int) -> "QueryGroup":
        """The same group at another place in the batch of queries."""
        return replace(self, start=start, stop=start + len(self))


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """What the decoder starts from."""

    content: Tensor  # (B, Q, C)
    boxes: Tensor  # (B, Q, 4) reference boxes, or (B, Q, 2) reference points
    position: Tensor | None  # (B, Q, C) fixed positional queries; None: the decoder embeds the current boxes
    groups: tuple[QueryGroup, ...]


@dataclass(frozen=True, slots=True)
class DecoderLayerOutput:
    """One decoder layer, before the prediction heads."""

    hidden: Tensor  # (B, Q, C), what the heads read
    reference_boxes: Tensor  # (B, Q, 4 or 2), where the layer sampled
    base_boxes: Tensor  # (B, Q, 4 or 2), what the layer's box prediction refines


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """The predictions of one group of queries at one read-out. Training supervises a flat tuple of these."""

    stage: Stage
    layer: int
    is_last: bool  # the last layer of its stage: the one that inference reads
    group: QueryGroup
    logits: Tensor  # (B, Q, K) float32
    boxes: Tensor  # (B, Q, 4) float32

    @property
    def suffix(self) -> str:
        """What distinguishes this set in the name of a loss: ``""``, ``"_3"``, ``"_dn_3"``, ``"_enc"``."""
        parts = ["enc"] if self.stage is Stage.ENCODER else []
        parts += ["dn"] if self.group.role is Role.DENOISING else []
        parts += [] if self.is_last else [str(self.layer)]
        return "".join("_" + part for part in parts)

    def describe(self) -> str:
        """In words, for error messages."""
        return f"{self.stage.value} layer {self.layer} ({self.group.name} queries)"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which queries of one image are responsible for which objects: two index vectors of equal length."""

    queries: Tensor  # (n,) int64
    objects: Tensor  # (n,) int64


@dataclass(frozen=True, slots=True)
class Targets:
    """The objects of a batch."""

    labels: tuple[Tensor, ...]  # per image (T,) int64
    boxes: tuple[Tensor, ...]  # per image (T, 4)
    names: tuple[str, ...]  # per image, for error messages
    seeds: tuple[int | None, ...]  # per image: where its random draws come from; None: the default generator
    mean_objects: float  # objects per process, averaged over all processes
    max_objects: int  # most objects in an image, over all processes

    @property
    def counts(self) -> list[int]:
        """Number of objects of each image, host integers."""
        return [len(labels) for labels in self.labels]

    def class_agnostic(self) -> "Targets":
        """The same objects, all of class 0."""
        return replace(self, labels=tuple(torch.zeros_like(labels) for labels in self.labels))
