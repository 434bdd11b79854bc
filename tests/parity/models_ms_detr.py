"""Our detector for the recorded configurations of MS-DETR, and its random draws."""

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from querydet.config import get_config
from querydet.modeling.assigners import OneToManyAssigner
from querydet.modeling.detector import QueryDetector
from querydet.structures import Assignment, PredictionSet, Targets
from tests.parity.models import OFFICIAL_FIXED, set_official
from tests.parity.options import TRAINING, WEIGHTS, check_all_read, check_fixed

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture

FIXED = {  # what the composition stands for
    **OFFICIAL_FIXED,
    "nms_iou_threshold": None,
    "two_stage": True,
    "use_ms_detr": True,
    "with_box_refine": True,
}
# The released `build` passes none of these options on; recordings with other values set the criterion's members.
RELEASED = {"o2m_matcher_k": 6, "o2m_matcher_threshold": 0.4, "use_indices_merge": False}


def one_to_many_constants(fixture: "Fixture") -> dict[str, Any]:
    """What the criterion of a recording really had."""
    given = fixture.description.get("fixture_cfg", {}).get("criterion", {})
    unknown = set(given) - set(RELEASED)
    if unknown:
        raise KeyError(f"nothing reads the constants of the criterion {', '.join(sorted(unknown))}")
    return {**RELEASED, **given}


def _ms_detr(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    check_fixed(config, FIXED)
    mixed = config.get("mixed_selection", False)
    model = get_config(f"common/models/ms_detr{'' if mixed else '_plain'}.py").model
    set_official(model, fixture)
    _set_rules(model, fixture)
    model.decoder.look_forward_twice = bool(config.get("look_forward_twice", False))
    if not config.get("use_aux_ffn", False):
        model.decoder.layer.one_to_many.ffn = None
    model.postprocess.num_detections = config["topk_eval"]
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split(), *RELEASED])
    return model


def _set_rules(model: DictConfig, fixture: "Fixture") -> None:
    constants = one_to_many_constants(fixture)
    rules = model.criterion.rules
    main, many, encoder = rules.decoder, rules.one_to_many, rules.encoder
    many.assigner.max_queries = constants["o2m_matcher_k"]
    many.assigner.threshold = constants["o2m_matcher_threshold"]
    many.assigner.merge_with = main.assigner if constants["use_indices_merge"] else None
    encoder.assigner.class_weight = 0.0  # always, whatever the options


def _ms_detr_impl_a(fixture: "Fixture") -> DictConfig:
    model = _ms_detr(fixture)
    model.decoder.layer.order = ["self_attention", "cross_attention", "ffn"]
    model.decoder.layer.one_to_many.after = "ffn"
    model.decoder.layer.one_to_many.ffn = None
    model.heads.separate_one_to_many = ["class"]
    return model


def replay_caps(fixture: "Fixture", detector: QueryDetector, which: str) -> None:
    """Let one-to-many assigners keep the recorded random part of their positives.

    Recorded are, for the last layer and then for the others from the first, and in them for each image, a permutation
    of the positives and one of the rest, which nothing uses.
    """
    recorded = fixture.group(f"train{which}/rng/")
    permutations = [recorded[name] for name in sorted(recorded) if name.endswith("randperm")]
    images = len(fixture["in/images"])

    def cap(
        assigner: OneToManyAssigner, positive: Tensor, predictions: PredictionSet, targets: Targets, image: int
    ) -> Tensor:
        turn = 0 if predictions.is_last else 1 + predictions.layer
        order = permutations[2 * (turn * images + image)]
        (index,) = positive.nonzero(as_tuple=True)
        assert len(index) == len(order), "another number of positives than recorded"
        kept = torch.zeros_like(positive)
        kept[index[order[: assigner.limit(len(positive))]]] = True
        return kept

    for rule in detector.criterion.rules.values():
        if isinstance(assigner := rule.assigner, OneToManyAssigner):
            assigner.cap = partial(cap, assigner)


def before_union(assigner: Any, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
    """What a one-to-many assigner finds without its union, which is what may be recorded of one that has it."""
    if not isinstance(assigner, OneToManyAssigner) or assigner.merge_with is None:
        return ()
    alone = copy.copy(assigner)
    alone.merge_with = None
    return alone(predictions, targets)


MODELS = {"ms_detr": _ms_detr, "ms_detr_impl_a": _ms_detr_impl_a}
