"""The contracts of a detector's parts: a Protocol for each slot, and the traits that other parts read.

A part of your own fulfils the Protocol of its slot and inherits from nothing here. A part with weights is an
`nn.Module`; any other defines `forward` and sets `__call__ = forward`. A property may be a plain attribute.

*Traits* are optional attributes that describe a part to the others; `querydet.traits` lists them. Checks, memory
estimates and the criterion read traits and never test for a class, so that a part of your own counts like one of ours.
`docs/parts.md` writes a selection and an assigner from this page; `querydet.mask_parts` has the contracts of masks.

Letters are those of `querydet.structures`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from detectron2.structures import Instances
from torch import Tensor, nn

from querydet.structures import (
    Assignment,
    DecoderLayerOutput,
    InitialQueries,
    JoinedPredictions,
    MatchedPairs,
    PredictionSet,
    ProposalPredictions,
    Proposals,
    QueryBatch,
    QueryGroup,
    Targets,
    TokenPyramid,
)


class Neck(Protocol):
    """Slot `neck`: backbone maps to one sequence of tokens. Traits: `embed_dim`."""

    @property
    def in_channels(self) -> Mapping[str, int]:
        """Number of channels of each backbone map that it reads, by the map's name, fine to coarse."""

    @property
    def num_levels(self) -> int:
        """L, the number of levels that it returns."""

    __call__: Callable[..., TokenPyramid]  # is `forward`

    def forward(self, features: Mapping[str, Tensor], padding: Tensor) -> TokenPyramid:
        """Build the token sequence.

        Args:
            features: backbone maps by name, (B, in_channels[name], H, W).
            padding: (B, image height, image width) bool, True = padding.
        """


class Encoder(Protocol):
    """Slot `encoder`: tokens attend to each other. Traits: `embed_dim`, `num_levels`, `attention_rows`."""

    __call__: Callable[..., TokenPyramid]  # is `forward`

    def forward(self, features: TokenPyramid) -> TokenPyramid:
        """Return the features with encoded tokens; everything else stays as it is."""


class Selection(Protocol):
    """Slot `selection`: encoded tokens to the initial matching queries.

    Traits: `embed_dim`, `num_classes`, `num_groups`, `target_repeats`, `indicator`, `has_encoder_predictions`,
    `class_agnostic`, `learned_content`, `suppresses`, `start_from`.
    """

    @property
    def num_queries(self) -> int:
        """Q, the number of queries of the primary group."""

    @property
    def reference_dim(self) -> int:
        """Number of coordinates of a reference: 4 for boxes, 2 for points."""

    @property
    def fixed_positions(self) -> bool:
        """True where the queries bring their positional part, so that the decoder makes none."""

    __call__: Callable[..., tuple[InitialQueries, ...]]  # is `forward`

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Return the primary group, named `querydet.structures.PRIMARY`; in training, extra groups may follow it.

        Args:
            memory: encoded image features.
            training: whether to make the extra groups too, where the selection has some.
        """

    def embed_boxes(self, boxes: Tensor) -> Tensor | None:
        """Return fixed positional queries (B, n, C) of other boxes (B, n, 4), for denoising; None: there are none."""


class Denoising(Protocol):
    """Slot `denoising`: queries from noised objects. Traits: `embed_dim`, `num_groups`, `indicator`, `contrastive`."""

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""

    __call__: Callable[..., tuple[InitialQueries, ...]]  # is `forward`

    def forward(self, targets: Targets) -> tuple[InitialQueries, ...]:
        """Make the denoising groups of a batch.

        A group has role DENOISING, names in `visible_groups` the matching group that it belongs to, and carries in
        `known` the object of each query. Without objects it has no queries.

        Args:
            targets: the objects of the batch.
        """


class Heads(Protocol):
    """Slot `heads`: hidden states to logits and boxes.

    Traits: `embed_dim`, `score_function`, `separate_one_to_many`, `first_heads`, `predicts_boxes`.
    """

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""

    @property
    def num_layers(self) -> int | None:
        """Number of decoder layers that it predicts after; None: any."""

    __call__: Callable[..., tuple[PredictionSet, ...]]  # is `forward`

    def forward(
        self, outputs: tuple[DecoderLayerOutput, ...], groups: tuple[QueryGroup, ...], last_only: bool
    ) -> tuple[PredictionSet, ...]:
        """Predict for every group after every layer, or after the last layer only.

        Args:
            outputs: of all decoder layers.
            groups: the query groups that the hidden states belong to.
            last_only: whether to predict after the last layer only, as inference does.
        """

    def refine(self, layer: int, hidden: Tensor, reference: Tensor) -> Tensor:
        """Return boxes (B, Q, 4) from hidden states (B, Q, C) and references (B, Q, 4 or 2) of a layer."""


class Decoder(Protocol):
    """Slot `decoder`: queries attend to each other and to the tokens, layer by layer.

    Traits: `embed_dim`, `num_levels`, `embeds_boxes`, `has_one_to_many`, `has_second_stream`, `reads_tokens`,
    `look_forward_twice`, `attends_in_masks`, `attention_rows`.
    """

    @property
    def num_layers(self) -> int:
        """Number of layers, and of outputs."""

    __call__: Callable[..., tuple[DecoderLayerOutput, ...]]  # is `forward`

    def forward(
        self, queries: QueryBatch, memory: TokenPyramid, heads: Heads, one_to_many: bool = False
    ) -> tuple[DecoderLayerOutput, ...]:
        """Run all layers and return the output of each.

        Queries attend only within their own group's block and to the groups that it names in `visible_groups`:
        `querydet.modeling.decoder.group_attention.plan_attention` computes that.

        Args:
            queries: the initial queries.
            memory: encoded image features.
            heads: refine the boxes between layers.
            one_to_many: whether to return what only training reads too: one-to-many input, and the second stream.
        """


class Assigner(Protocol):
    """Slot `assigner` of a supervision rule: which queries are responsible for which objects.

    Traits: `one_to_one`, `repeats_targets`, `compares_start_boxes`, `needs_one_to_one_branch`, `num_layers`,
    `score_function`, `reads_boxes`, `reads_masks`. One that also fulfils `BatchedAssigner` is called once a step.
    """

    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        """Return the assignment of each image, on any device."""


@runtime_checkable
class BatchedAssigner(Protocol):
    """An assigner in two steps, so that a training step waits for the device once for all of its rules."""

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """Compute the input of `assign` on the device: any number of tensors of any shapes and types."""

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Return the assignment of every set and image, from the computed tensors on the host."""


class LossTerm(Protocol):
    """A loss. Traits: `normalizer`, `score_function`, `aligns_quality`, `use_counts`, `reads_boxes`, `reads_masks`."""

    @property
    def weight(self) -> float:
        """Factor of the loss."""

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each query (B, Q), or of each of the n pairs (n,), neither weighted nor summed."""


class PairWeights(Protocol):
    """Slot `pair_weights` of a supervision rule: how much each assigned pair counts in its losses."""

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return a factor of each of the n pairs (n,), without a gradient."""


class Normalizer(Protocol):
    """Slot `normalizer` of a supervision rule: the divisor of its losses."""

    def __call__(self, predictions: PredictionSet, targets: Targets) -> float:
        """Return the divisor of the losses of a prediction set, greater than 0."""


class CriterionPart(Protocol):
    """Slot `criterion`: predictions and targets to losses. Traits: `rules`."""

    def __call__(self, predictions: tuple[PredictionSet, ...], targets: Targets) -> dict[str, Tensor]:
        """Return weighted scalar losses by name, to be added up.

        Raises:
            FloatingPointError: a prediction is NaN or infinite; names the layer and the image.
        """


class Postprocess(Protocol):
    """Slot `postprocess`. Traits: `score_function`, `num_detections`, `suppresses`, `suppresses_one_to_one`."""

    def __call__(self, logits: Tensor, boxes: Tensor, sizes: list[tuple[int, int]]) -> list[Instances]:
        """Return the detections of each image.

        Args:
            logits: (B, Q, K).
            boxes: (B, Q, 4), normalised.
            sizes: (height, width) of each image in pixels, in which the detections are returned.

        Returns:
            Per image `pred_boxes` (XYXY, pixels), `scores`, `pred_classes`, for masks `query_indices`, best first.
        """


@runtime_checkable
class SharedGroups(Protocol):
    """A selection whose further groups share some of its weights (`querydet.modeling.selection.GroupedSelection`).

    Any other selection can be grouped too: its further groups are copies with weights of their own.
    """

    def group_weights(self, count: int) -> dict[str, nn.Module]:
        """Make the weights that `count` further groups do not share, by their name in a checkpoint."""

    def select_groups(self, memory: TokenPyramid, weights: Mapping[str, nn.Module]) -> tuple[InitialQueries, ...]:
        """Return the primary group and one more for each of the further weights; `GroupedSelection` names them."""


@runtime_checkable
class ProposalSelection(Protocol):
    """A selection from proposals, one for each token, which can make several groups of them."""

    @property
    def num_queries(self) -> int:
        """Q, the number of queries of the primary group."""

    @property
    def content(self) -> nn.Module | None:
        """Module from the content of boxes and the features of tokens to that of queries; None: that of the boxes."""

    def propose(self, memory: TokenPyramid) -> Proposals:
        """Predict a class and a box for each token."""

    def select(self, proposals: Proposals, num_queries: int) -> Tensor:
        """Return the indices (B, num_queries) of the best tokens, best first."""

    def supervised(self, proposals: Proposals, index: Tensor) -> ProposalPredictions:
        """Return the proposals that are supervised: those of all tokens, or of the selected ones (B, Q)."""

    def make_queries(
        self,
        proposals: Proposals,
        index: Tensor,
        content: nn.Module | None,
        group: QueryGroup,
        predictions: ProposalPredictions | None,
    ) -> InitialQueries:
        """Make the queries of one group from selected tokens (B, Q)."""
