"""The data that passes between the stages of a detector.

Letters, used in every docstring of the project: B images, H and W height and width, L levels, S tokens (the sum of H*W
over levels), C width, M heads, D channels of a head, P points, Q queries, K classes, T objects of an image, G groups,
R repeats; n and N are numbers that the docstring at hand explains. Tensors are batch first. Boxes are normalised
`(cx, cy, w, h)` of the unpadded image.
"""

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from querydet.mask_structures import ImageMasks, ObjectMasks, PairMasks

PRIMARY = "primary"  # the name of the query group that inference keeps


class Stage(str, Enum):
    """The stage that makes a prediction."""

    ENCODER = "encoder"
    DECODER = "decoder"


class Branch(str, Enum):
    """How many queries are supervised by an object in a prediction (MS-DETR, section 3.2)."""

    ONE_TO_ONE = "one_to_one"  # the output of a layer, which inference uses
    ONE_TO_MANY = "one_to_many"  # a second output inside a layer, in training
    SECOND_STREAM = "second_stream"  # the output for queries that skip self-attention, in training (DAC-DETR)

    @property
    def words(self) -> str:
        """What error messages add to the name of queries: nothing for the one-to-one branch."""
        return "" if self is Branch.ONE_TO_ONE else f", {self.value.replace('_', '-')}"


class Role(str, Enum):
    """The purpose of a query group."""

    MATCHING = "matching"  # finds objects: an assigner matches its predictions with them
    DENOISING = "denoising"  # reconstructs the objects that it was made from: its assignment is known


@dataclass(frozen=True, slots=True)
class TokenPyramid:
    """Image features of several resolutions as one sequence of tokens, fine levels first, rows before columns."""

    tokens: Tensor  # (B, S, C)
    position: Tensor  # (B, S, C), position embedding, including that of the level
    padding: Tensor  # (B, S) bool, True = padding
    shapes: tuple[tuple[int, int], ...]  # (H, W) of each level, host integers: reading them never waits for a device
    valid_ratios: Tensor  # (B, L, 2), the part of each level that is image, as (w, h) in (0, 1]
    masks: ImageMasks | None = None  # of encoded features: makes the masks of queries; None: there are no masks

    @property
    def level_sizes(self) -> list[int]:
        """Number of tokens of each level."""
        return [height * width for height, width in self.shapes]


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """The features of a batch of images that masks are made from."""

    maps: dict[str, Tensor]  # backbone maps by name, (B, channels, H, W)
    padding: Tensor  # (B, height, width) bool of the padded images, True = padding
    neck: TokenPyramid  # before the encoder
    memory: TokenPyramid  # encoded


@dataclass(frozen=True, slots=True)
class Proposals:
    """One prediction for each token of the encoder."""

    features: Tensor  # (B, S, C)
    logits: Tensor  # (B, S, K)
    boxes_unsigmoid: Tensor  # (B, S, 4); +inf where not usable
    anchors: Tensor  # (B, S, 4), the boxes that the predictions refine; (1, 1, 1, 1) where not usable
    level_sizes: tuple[int, ...]  # number of tokens of each level
    usable: Tensor  # (B, S) bool: inside the image, and the anchor not degenerate


@dataclass(frozen=True, slots=True)
class Assignment:
    """The (query, object) pairs of one image: two index vectors of equal length.

    A query may be paired with several objects: it is trained towards the boxes of all of them. A loss with one class
    for each query takes that of the *last* one listed.
    """

    queries: Tensor  # (n,) int64
    objects: Tensor  # (n,) int64
    weights: Tensor | None = None  # (Q,), factors of the losses of each query, 0 for none; None: 1


@dataclass(frozen=True, slots=True)
class Blocks:
    """Consecutive queries of one image, in blocks of equal size within which attention stays."""

    count: int
    size: int


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """Consecutive queries that attend to each other and are supervised together."""

    name: str
    start: int
    stop: int
    role: Role = Role.MATCHING
    visible_groups: tuple[str, ...] = ()  # names of the other groups that its queries may attend to
    blocks: tuple[Blocks, ...] | None = None  # of each image, then padding that no query sees; None: one whole block
    target_repeats: int = 1  # R, how often an assigner that repeats targets offers each object to the group
    loss_divisor: int = 1  # divides the losses of the group, such as the number of queries that find each object
    loss_weight: float = 1.0  # multiplies the losses of the group
    loss_suffix: str = ""  # added to the names of its losses; losses of equal names are summed up
    known: tuple[Assignment, ...] | None = None  # of a denoising group: for each image, the object of each query

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """The queries of the group in a tensor of all queries."""
        return slice(self.start, self.stop)

    def moved(self, start: int) -> "QueryGroup":
        """Return the same group at another place in the batch of queries."""
        return replace(self, start=start, stop=start + len(self))


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """The input of the decoder: all query groups, one after the other."""

    content: Tensor  # (B, Q, C)
    boxes: Tensor  # (B, Q, 4) reference boxes, or (B, Q, 2) reference points
    position: Tensor | None  # (B, Q, C) fixed positional queries; None: the decoder embeds the current boxes
    groups: tuple[QueryGroup, ...]


@dataclass(frozen=True, slots=True)
class BranchInput:
    """The input of the heads in one branch: hidden states of some query groups, one after the other."""

    hidden: Tensor  # (B, n, C)
    groups: tuple[QueryGroup, ...]  # with their places in the batch of all queries


@dataclass(frozen=True, slots=True)
class DecoderLayerOutput:
    """The output of one decoder layer, before the prediction heads."""

    hidden: Tensor  # (B, Q, C), the input of the heads
    reference_boxes: Tensor  # (B, Q, 4 or 2), where the layer sampled the image
    base_boxes: Tensor  # (B, Q, 4 or 2), the boxes that the layer's prediction refines
    one_to_many: BranchInput | None = None  # input of the one-to-many branch, in training
    second_stream: "DecoderLayerOutput | None" = None  # of the same queries without self-attention, in training


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """The predictions of one query group in one branch of one layer. Training supervises a flat tuple of these."""

    stage: Stage
    layer: int
    is_last: bool  # of the last layer of its stage, which inference uses
    group: QueryGroup
    logits: Tensor  # (B, Q, K) float32
    boxes: Tensor  # (B, Q, 4) float32
    start_boxes: Tensor  # (B, Q, 4 or 2), detached: the encoder's anchors, or the reference boxes of the first layer
    branch: Branch = Branch.ONE_TO_ONE
    one_to_one: "PredictionSet | None" = None  # of another branch: the one-to-one predictions of the same queries
    hidden: Tensor | None = None  # (B, Q, C), what the heads read; None: heads that do not tell
    masks: ImageMasks | None = None  # makes the masks of the queries from `hidden`; None: they have none

    @property
    def suffix(self) -> str:
        """The end of the names of its losses, such as `""`, `"_dn_3"`, `"_o2m_3"`, `"_stream2_3"` or `"_enc"`."""
        parts = ["enc"] if self.stage is Stage.ENCODER else []
        parts += [self.group.loss_suffix] if self.group.loss_suffix else []
        parts += {Branch.ONE_TO_MANY: ["o2m"], Branch.SECOND_STREAM: ["stream2"]}.get(self.branch, [])
        parts += [] if self.is_last else [str(self.layer)]
        return "".join("_" + part for part in parts)

    def describe(self) -> str:
        """Describe the set in words, for error messages."""
        return f"{self.stage.value} layer {self.layer} ({self.group.name} queries{self.branch.words})"


@dataclass(frozen=True, slots=True)
class JoinedPredictions:
    """The predictions of several sets, one set after the other: Q counts the queries of all of them."""

    logits: Tensor  # (B, Q, K)
    boxes: Tensor  # (B, Q, 4)
    sizes: tuple[int, ...]  # number of queries of each set


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    """The n assigned (query, object) pairs of all sets and images, those of a set one after the other."""

    image: Tensor  # (n,) int64
    query: Tensor  # (n,) int64, among the joined queries
    object: Tensor  # (n,) int64, a number that the pairs of an object in one set share, and no others
    labels: Tensor  # (n,) int64, of the objects
    boxes: Tensor  # (n, 4), of the objects
    counts: tuple[int, ...]  # number of pairs of each set
    query_weights: Tensor | None = None  # (B, Q), factors of the losses of each query, 0 for none; None: 1 for all
    weights: Tensor | None = None  # (n,), factors of the losses of each pair, see `PairWeights`; None: 1 for all
    masks: PairMasks | None = None  # for loss terms that read masks
    targets: "Targets | None" = None  # all objects of the images, and the seeds of their draws


@dataclass(frozen=True, slots=True)
class ProposalPredictions:
    """The encoder's predictions that are supervised: those of n tokens, which are all tokens or the selected ones."""

    logits: Tensor  # (B, n, K) float32
    boxes: Tensor  # (B, n, 4) float32
    anchors: Tensor  # (B, n, 4), the boxes that the predictions refine
    loss_divisor: int = 1  # divides their losses: the number of groups that have predictions of their own


@dataclass(frozen=True, slots=True)
class InitialQueries:
    """A query group before the first decoder layer."""

    group: QueryGroup
    content: Tensor  # (B, Q, C)
    boxes: Tensor  # (B, Q, 4), or (B, Q, 2) points
    position: Tensor | None = None  # (B, Q, C) fixed positional queries; None: the decoder makes them from the boxes
    predictions: ProposalPredictions | None = None  # of the encoder, where they are supervised with this group
    tokens: Tensor | None = None  # (B, Q) int64, the token that each query was selected from; None: learned queries

    def encoder_predictions(self) -> tuple[PredictionSet, ...]:
        """Return the encoder's predictions as a prediction set, or nothing where there are none."""
        if self.predictions is None:
            return ()
        predictions = self.predictions
        num_queries, divisor = predictions.boxes.shape[1], predictions.loss_divisor
        return (
            PredictionSet(
                stage=Stage.ENCODER,
                layer=0,
                is_last=True,
                group=QueryGroup(self.group.name, 0, num_queries, loss_divisor=divisor),
                logits=predictions.logits,
                boxes=predictions.boxes,
                start_boxes=predictions.anchors,
            ),
        )


@dataclass(frozen=True, slots=True)
class ObjectCount:
    """The numbers of objects of a whole training step, of which every process and micro-batch computes a part."""

    per_image: tuple[int, ...]  # of all images of all processes and micro-batches
    num_micro_batches: int = 1  # of all processes together; their gradients are averaged

    @property
    def mean_per_micro_batch(self) -> float:
        """Objects of a micro-batch, averaged over all of them."""
        return sum(self.per_image) / self.num_micro_batches


@dataclass(frozen=True, slots=True)
class Targets:
    """The objects of a batch."""

    labels: tuple[Tensor, ...]  # per image (T,) int64
    boxes: tuple[Tensor, ...]  # per image (T, 4)
    names: tuple[str, ...]  # per image, for error messages
    seeds: tuple[int | None, ...]  # per image, seed of its random draws; None: the default generator
    step: ObjectCount  # of the whole step, of which this batch is a part
    masks: ObjectMasks | None = None  # None: the annotations have no masks, or the detector predicts none

    @property
    def counts(self) -> list[int]:
        """Number of objects of each image, host integers."""
        return [len(labels) for labels in self.labels]

    def class_agnostic(self) -> "Targets":
        """Return the same objects, all of class 0."""
        return replace(self, labels=tuple(torch.zeros_like(labels) for labels in self.labels))
