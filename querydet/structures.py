"""The contracts between the stages of the detector.

Letters, used everywhere: B images, L levels, S tokens (the sum of H*W over levels), C width, Q queries, K classes,
T objects of an image. Tensors are batch first. Boxes are normalised ``(cx, cy, w, h)`` of the unpadded image.
"""

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

PRIMARY = "primary"  # the name of the group of queries that inference keeps


class Stage(str, Enum):
    """Where a prediction comes from."""

    ENCODER = "encoder"
    DECODER = "decoder"


class Branch(str, Enum):
    """How many queries may be responsible for an object, in the predictions of one read-out (MS-DETR, section 3.2)."""

    ONE_TO_ONE = "one_to_one"  # what inference reads
    ONE_TO_MANY = "one_to_many"  # for training only


class Role(str, Enum):
    """What a query group is there for."""

    MATCHING = "matching"  # finds objects: its predictions are assigned by an assigner
    DENOISING = "denoising"  # reconstructs objects that it was made from: its assignment is known


@dataclass(frozen=True, slots=True)
class TokenPyramid:
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
    anchors: Tensor  # (B, S, 4), what the boxes were predicted from; (1, 1, 1, 1) where not usable
    level_sizes: tuple[int, ...]  # tokens of each level
    usable: Tensor  # (B, S) bool: inside the image, and the anchor not degenerate


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which queries of one image are responsible for which objects: two index vectors of equal length.

    A query may be listed with several objects: all their boxes count, and its class is that of the *last* one listed.
    """

    queries: Tensor  # (n,) int64
    objects: Tensor  # (n,) int64
    ignored: Tensor | None = None  # (Q,) bool, True for queries without any loss; None: all others are background


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """A run of consecutive queries that is trained, and may be attended to, as one."""

    name: str
    start: int
    stop: int
    role: Role = Role.MATCHING
    visible_groups: tuple[str, ...] = ()  # names of the other groups that its queries may attend to
    # its queries attend only within consecutive runs of this many; None: to the whole group
    block_size: int | None = None
    # how many queries of the group an assigner may give to each object, where it gives one otherwise
    target_repeats: int = 1
    # the losses of the group are divided by it: how many queries are there for each object in all
    loss_divisor: int = 1
    loss_weight: float = 1.0  # the losses of the group are multiplied by it
    loss_suffix: str = ""  # what marks the losses of the group; groups without share names, and their losses are summed
    known: tuple[Assignment, ...] | None = None  # of a denoising group, per image: what its queries were made from

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
class BranchInput:
    """Hidden states of some query groups, one after the other."""

    hidden: Tensor  # (B, n, C)
    groups: tuple[QueryGroup, ...]  # with their places in the batch of all queries


@dataclass(frozen=True, slots=True)
class DecoderLayerOutput:
    """One decoder layer, before the prediction heads."""

    hidden: Tensor  # (B, Q, C), what the heads read
    reference_boxes: Tensor  # (B, Q, 4 or 2), where the layer sampled
    base_boxes: Tensor  # (B, Q, 4 or 2), what the layer's box prediction refines
    one_to_many: "BranchInput | None" = None  # a second read-out inside the layer, in training


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """The predictions of one group of queries at one read-out. Training supervises a flat tuple of these."""

    stage: Stage
    layer: int
    is_last: bool  # the last layer of its stage: the one that inference reads
    group: QueryGroup
    logits: Tensor  # (B, Q, K) float32
    boxes: Tensor  # (B, Q, 4) float32
    start_boxes: Tensor  # (B, Q, 4 or 2), detached: the encoder's anchors, or the reference boxes of the first layer
    branch: Branch = Branch.ONE_TO_ONE
    one_to_one: "PredictionSet | None" = None  # of a one-to-many set: the same queries at the layer's main read-out

    @property
    def suffix(self) -> str:
        """What marks this set in the name of a loss: ``""``, ``"_3"``, ``"_dn_3"``, ``"_o2m_3"``, ``"_enc"``."""
        parts = ["enc"] if self.stage is Stage.ENCODER else []
        parts += [self.group.loss_suffix] if self.group.loss_suffix else []
        parts += ["o2m"] if self.branch is Branch.ONE_TO_MANY else []
        parts += [] if self.is_last else [str(self.layer)]
        return "".join("_" + part for part in parts)

    def describe(self) -> str:
        """In words, for error messages."""
        branch = ", one-to-many" if self.branch is Branch.ONE_TO_MANY else ""
        return f"{self.stage.value} layer {self.layer} ({self.group.name} queries{branch})"


@dataclass(frozen=True, slots=True)
class ProposalPredictions:
    """The encoder's predictions that are supervised: of all tokens, or of the selected ones."""

    logits: Tensor  # (B, N, K) float32
    boxes: Tensor  # (B, N, 4) float32
    anchors: Tensor  # (B, N, 4), what the boxes were predicted from
    loss_divisor: int = 1  # their losses are divided by it: how many groups have predictions of their own


@dataclass(frozen=True, slots=True)
class InitialQueries:
    """A group of queries before the first decoder layer."""

    group: QueryGroup
    content: Tensor  # (B, Q, C)
    boxes: Tensor  # (B, Q, 4), or (B, Q, 2) points
    position: Tensor | None = None  # (B, Q, C) fixed positional queries; None: the decoder makes them from the boxes
    predictions: ProposalPredictions | None = None  # of the first stage, where it is supervised with this group
    tokens: Tensor | None = None  # (B, Q) int64, the encoder's token that each was made from; None: of a learned table

    def encoder_predictions(self) -> tuple[PredictionSet, ...]:
        """The first stage's predictions as a prediction set, if there are any."""
        if self.predictions is None:
            return ()
        found = self.predictions
        return (
            PredictionSet(
                stage=Stage.ENCODER,
                layer=0,
                is_last=True,
                group=QueryGroup(self.group.name, 0, found.boxes.shape[1], loss_divisor=found.loss_divisor),
                logits=found.logits,
                boxes=found.boxes,
                start_boxes=found.anchors,
            ),
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """The objects of a batch."""

    labels: tuple[Tensor, ...]  # per image (T,) int64
    boxes: tuple[Tensor, ...]  # per image (T, 4)
    names: tuple[str, ...]  # per image, for error messages
    seeds: tuple[int | None, ...]  # per image: where its random draws come from; None: the default generator
    mean_objects_per_micro_batch: float  # objects of a share of the step, averaged over all shares
    max_objects: int  # most objects in an image of the step
    # parts that a step is computed in, processes times micro-batches: their gradients are averaged
    num_micro_batches: int = 1

    @property
    def counts(self) -> list[int]:
        """Number of objects of each image, host integers."""
        return [len(labels) for labels in self.labels]

    def class_agnostic(self) -> "Targets":
        """The same objects, all of class 0."""
        return replace(self, labels=tuple(torch.zeros_like(labels) for labels in self.labels))
