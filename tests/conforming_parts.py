"""The shipped parts by slot, for mypy: each class has to fulfil the Protocol of its slot, or ``make lint`` fails.

`tests.test_parts` makes sure that no part of a shipped composition is missing here.
"""

from querydet.mask_parts import MaskHead, Masks
from querydet.modeling.align import IoUAwareClassLoss, RankWeights
from querydet.modeling.assigners import (
    HungarianAssigner,
    IoUAssigner,
    KnownAssigner,
    OneToManyAssigner,
    RaisedThresholdAssigner,
    UnionAssigner,
)
from querydet.modeling.class_heads import ClassHeads
from querydet.modeling.criterion import Criterion
from querydet.modeling.decoder import ConditionalDecoder, DabDecoder, DeformableDecoder, DetrDecoder, MaskedDecoder
from querydet.modeling.encoder import DeformableEncoder, DenseEncoder, ScaledDenseEncoder
from querydet.modeling.federated import FederatedFocalLoss
from querydet.modeling.heads import PredictionHeads
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.modeling.masks import (
    AttentionMapHead,
    DiceLoss,
    FocalMaskLoss,
    MaskBranch,
    PixelEmbedding,
    PointDiceLoss,
    PointMaskLoss,
)
from querydet.modeling.neck import MultiScaleNeck, SingleMapNeck
from querydet.modeling.no_object import (
    NoObjectHeads,
    SoftmaxHungarianAssigner,
    SoftmaxLoss,
    SoftmaxPairsPostprocess,
    SoftmaxPostprocess,
)
from querydet.modeling.normalizers import LocalObjects, MeanObjects, MeanRepeatedObjects, WeightedQueries
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from querydet.modeling.queries import ContrastiveDenoising, Denoising, GroupedDenoising
from querydet.modeling.selection import (
    GroupedSelection,
    HybridSelection,
    LearnedBoxes,
    LearnedBoxesWithPatterns,
    LearnedContents,
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
    LearnedContents,
    LearnedPoints,
    LearnedQueries,
    LearnedQueriesWithPoints,
    NMSSelection,
    TopKSelection,
)
SHARED_GROUPS: tuple[type[SharedGroups], ...] = (
    LearnedContents,
    LearnedQueries,
    LearnedQueriesWithPoints,
    NMSSelection,
    TopKSelection,
)
PROPOSAL_SELECTIONS: tuple[type[ProposalSelection], ...] = (NMSSelection, TopKSelection)
DENOISING: tuple[type[DenoisingPart], ...] = (ContrastiveDenoising, Denoising, GroupedDenoising)
DECODERS: tuple[type[Decoder], ...] = (
    ConditionalDecoder,
    DabDecoder,
    DeformableDecoder,
    DetrDecoder,
    MaskedDecoder,
)
HEADS: tuple[type[Heads], ...] = (ClassHeads, NoObjectHeads, PredictionHeads)
MASKS: tuple[type[Masks], ...] = (MaskBranch,)
MASK_HEADS: tuple[type[MaskHead], ...] = (AttentionMapHead, PixelEmbedding)
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
LOSSES: tuple[type[LossTerm], ...] = (
    DiceLoss,
    FederatedFocalLoss,
    FocalLoss,
    FocalMaskLoss,
    GIoULoss,
    IoUAwareClassLoss,
    L1Loss,
    PointDiceLoss,
    PointMaskLoss,
    SoftmaxLoss,
)
PAIR_WEIGHTS: tuple[type[PairWeights], ...] = (RankWeights,)
NORMALIZERS: tuple[type[Normalizer], ...] = (LocalObjects, MeanObjects, MeanRepeatedObjects, WeightedQueries)
POSTPROCESSES: tuple[type[Postprocess], ...] = (
    NMSPostprocess,
    SoftmaxPairsPostprocess,
    SoftmaxPostprocess,
    TopKPostprocess,
)
