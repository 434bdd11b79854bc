"""The shipped parts by slot, for mypy: each class has to fulfil the Protocol of its slot, or ``make lint`` fails.

`tests.test_parts` makes sure that no part of a shipped composition is missing here.
"""

from querydet.modeling.align import IoUAwareClassLoss, RankWeights
from querydet.modeling.assigners import (
    HungarianAssigner,
    IoUAssigner,
    KnownAssigner,
    OneToManyAssigner,
    RaisedThresholdAssigner,
    UnionAssigner,
)
from querydet.modeling.criterion import Criterion
from querydet.modeling.decoder import ConditionalDecoder, DabDecoder, DeformableDecoder, DetrDecoder
from querydet.modeling.encoder import DeformableEncoder, DenseEncoder, ScaledDenseEncoder
from querydet.modeling.heads import PredictionHeads
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.modeling.neck import MultiScaleNeck, SingleMapNeck
from querydet.modeling.no_object import NoObjectHeads, SoftmaxHungarianAssigner, SoftmaxLoss, SoftmaxPostprocess
from querydet.modeling.normalizers import LocalObjects, MeanObjects, MeanRepeatedObjects, WeightedQueries
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from querydet.modeling.queries import ContrastiveDenoising, Denoising, GroupedDenoising
from querydet.modeling.selection import (
    GroupedSelection,
    HybridSelection,
    LearnedBoxes,
    LearnedBoxesWithPatterns,
    LearnedPoints,
    LearnedQueries,
    LearnedQueriesWithPoints,
    NMSSelection,
    TopKSelection,
)
from querydet.parts import (
    Assigner,
    BatchedAssigner,
    CriterionPart,
    Decoder,
    Encoder,
    Heads,
    LossTerm,
    Neck,
    Normalizer,
    PairWeights,
    Postprocess,
    ProposalSelection,
    Selection,
    SharedGroups,
)
from querydet.parts import Denoising as DenoisingPart

NECKS: tuple[type[Neck], ...] = (MultiScaleNeck, SingleMapNeck)
ENCODERS: tuple[type[Encoder], ...] = (DeformableEncoder, DenseEncoder, ScaledDenseEncoder)
SELECTIONS: tuple[type[Selection], ...] = (
    GroupedSelection,
    HybridSelection,
    LearnedBoxes,
    LearnedBoxesWithPatterns,
    LearnedPoints,
    LearnedQueries,
    LearnedQueriesWithPoints,
    NMSSelection,
    TopKSelection,
)
SHARED_GROUPS: tuple[type[SharedGroups], ...] = (
    LearnedQueries,
    LearnedQueriesWithPoints,
    NMSSelection,
    TopKSelection,
)
PROPOSAL_SELECTIONS: tuple[type[ProposalSelection], ...] = (NMSSelection, TopKSelection)
DENOISING: tuple[type[DenoisingPart], ...] = (ContrastiveDenoising, Denoising, GroupedDenoising)
DECODERS: tuple[type[Decoder], ...] = (ConditionalDecoder, DabDecoder, DeformableDecoder, DetrDecoder)
HEADS: tuple[type[Heads], ...] = (NoObjectHeads, PredictionHeads)
CRITERIA: tuple[type[CriterionPart], ...] = (Criterion,)
ASSIGNERS: tuple[type[Assigner], ...] = (
    HungarianAssigner,
    IoUAssigner,
    KnownAssigner,
    OneToManyAssigner,
    RaisedThresholdAssigner,
    SoftmaxHungarianAssigner,
    UnionAssigner,
)
BATCHED_ASSIGNERS: tuple[type[BatchedAssigner], ...] = (
    HungarianAssigner,
    IoUAssigner,
    OneToManyAssigner,
    RaisedThresholdAssigner,
    SoftmaxHungarianAssigner,
    UnionAssigner,
)
LOSSES: tuple[type[LossTerm], ...] = (FocalLoss, GIoULoss, IoUAwareClassLoss, L1Loss, SoftmaxLoss)
PAIR_WEIGHTS: tuple[type[PairWeights], ...] = (RankWeights,)
NORMALIZERS: tuple[type[Normalizer], ...] = (LocalObjects, MeanObjects, MeanRepeatedObjects, WeightedQueries)
POSTPROCESSES: tuple[type[Postprocess], ...] = (NMSPostprocess, SoftmaxPostprocess, TopKPostprocess)
