"""Do the parts of a detector with dense attention fit together? Asked once, when it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.decoder.dense import ConditionalDecoder, DetrDecoder
from querydet.modeling.encoder.deformable import DeformableEncoder
from querydet.modeling.encoder.dense import DenseEncoder
from querydet.modeling.losses import FocalLoss
from querydet.modeling.no_object import SOFTMAX, SoftmaxLoss
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from querydet.modeling.selection import TopKSelection
from querydet.modeling.selection.dense_learned import LearnedQueries
from querydet.structures import Stage

if TYPE_CHECKING:
    from querydet.modeling.detector import QueryDetector

DENSE = (DenseEncoder, DetrDecoder, ConditionalDecoder)
READERS = (HungarianAssigner, FocalLoss, SoftmaxLoss, TopKPostprocess, NMSPostprocess)  # of class logits


def check_dense(detector: QueryDetector) -> None:
    """Raise ValueError, naming parts and remedy, when the parts of a detector do not fit together."""
    _check_levels(detector)
    _check_repeats(detector)
    _check_scores(detector)


def _check_levels(detector: QueryDetector) -> None:
    levels = detector.neck.num_levels
    dense = [name for name in ("encoder", "decoder") if isinstance(getattr(detector, name), DENSE)]
    if levels == 1 or not dense:
        return
    kinds = ", ".join(f"model.{name}={type(getattr(detector, name)).__name__}" for name in dense)
    if isinstance(detector.encoder, DeformableEncoder):
        raise ValueError(
            f"{kinds} attends to every token of one map, but model.encoder=DeformableEncoder works on {levels} levels, "
            "for which it has no use: take querydet.modeling.neck.SingleMapNeck and DenseEncoder, or "
            "querydet.modeling.decoder.deformable.DeformableDecoder"
        )
    raise ValueError(
        f"{kinds} attends to every token of one map, but model.neck={type(detector.neck).__name__} makes {levels} "
        "levels: take querydet.modeling.neck.SingleMapNeck, or deformable attention (DeformableEncoder, "
        "querydet.modeling.decoder.deformable.DeformableDecoder)"
    )


def _check_repeats(detector: QueryDetector) -> None:
    repeats = detector.selection.repeats if isinstance(detector.selection, LearnedQueries) else 1
    for rule in detector.criterion.rules:
        if repeats > 1 and rule.stage is Stage.DECODER and not isinstance(rule.assigner, HungarianAssigner):
            raise ValueError(
                f"model.selection offers each object {repeats} times, and {type(rule.assigner).__name__} does not "
                "repeat objects: use HungarianAssigner in the rule of the decoder's predictions, or a selection with "
                "repeats=1"
            )


def _check_scores(detector: QueryDetector) -> None:
    """Heads, class loss, matching and postprocess read logits in one way."""
    wanted = scores_of(detector.heads)
    if wanted == SOFTMAX and isinstance(detector.selection, TopKSelection):
        raise ValueError(
            "model.heads=NoObjectHeads has an output for no object, which the proposals of model.selection have not: "
            "use querydet.modeling.heads.PredictionHeads, or queries that are learned"
        )
    parts: dict[str, object] = {"model.postprocess": detector.postprocess}
    for number, rule in enumerate(detector.criterion.rules):
        parts[f"model.criterion.rules.{number}.assigner"] = rule.assigner
        parts |= {f"model.criterion.rules.{number}.losses.{n}": term for n, term in enumerate(rule.losses)}
    for key, part in parts.items():
        if isinstance(part, READERS) and scores_of(part) != wanted:
            raise ValueError(
                f"{key}={type(part).__name__} reads class logits by {scores_of(part)}, but "
                f"model.heads={type(detector.heads).__name__} makes them for {wanted}: take heads, class loss, "
                "matching and postprocess from querydet.dense (NoObjectHeads, SoftmaxLoss, SoftmaxHungarianAssigner, "
                "SoftmaxPostprocess), or none of them"
            )


def scores_of(part: object) -> str:
    """How a part understands class logits: "sigmoid" or "softmax"."""
    return getattr(part, "scores", "sigmoid")
