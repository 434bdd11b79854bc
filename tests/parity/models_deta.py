"""Our detector for the recorded configurations of DETA and its improved baseline, and its random draws."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from omegaconf import DictConfig
from torch import Tensor

from querydet.config import get_config
from querydet.modeling.assigners import IoUAssigner
from querydet.modeling.detector import QueryDetector
from querydet.structures import Assignment, PredictionSet, Stage, Targets
from tests.parity.models import OFFICIAL_FIXED, set_focal_cost, set_layers, set_losses, set_official
from tests.parity.models_h_detr import Options
from tests.parity.options import TRAINING, WEIGHTS, check_all_read, check_fixed

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture

FIXED = {**OFFICIAL_FIXED, "two_stage": True}
DETREX_EPS = 1e-6  # of the IoU in detrex
DETREX_SIGMOID_EPS = 1e-3


def _compose(first_stage: bool, second_stage: bool) -> DictConfig:
    """DETA, its improved baseline, or the parts of the one for a stage and those of the other for the rest."""
    deta = get_config("common/models/deta.py").model
    if first_stage and second_stage:
        return deta
    model = get_config("common/models/deta_baseline.py").model
    if first_stage:
        model.selection = deta.selection
        model.criterion.rules.encoder.assigner = deta.criterion.rules.encoder.assigner
    if second_stage:
        model.criterion.rules.decoder.assigner = deta.criterion.rules.decoder.assigner
        model.criterion.rules.decoder.assign_once = True
        model.postprocess = deta.postprocess
    return model


def _deta(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    check_fixed(config, FIXED)
    model = _compose(config["assign_first_stage"], config["assign_second_stage"])
    set_official(model, fixture)
    model.decoder.refine_boxes = config["with_box_refine"]
    model.heads.share_layers = not config["with_box_refine"]
    _set_constants(model, fixture)
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split(), "deta_consts"])
    return model


def _set_constants(model: DictConfig, fixture: "Fixture") -> None:
    """Numbers that are literals in the published code; a recording may have been made with others."""
    description = fixture.description
    places = (description, description.get("fixture_cfg", {}), description["config"])
    constants = next((place["deta_consts"] for place in places if place.get("deta_consts")), {})
    for name, value in constants.items():
        last = re.search("post|final|keep|result|detection", name) is not None
        stage = re.search("stage_?([12])|stg_?([12])", name)
        if stage is not None and "nms" not in name:  # the suppression of proposals is no threshold of their assignment
            _set_assigner(model.criterion.rules["encoder" if "1" in stage[0] else "decoder"].assigner, name, value)
        elif isinstance(value, float) and 0 < value <= 1:
            (model.postprocess if last else model.selection).iou_threshold = value
        elif isinstance(value, int) and last:
            model.postprocess.num_detections = value
        elif isinstance(value, int) and "pre" in name:
            model.selection.max_candidates = value
        else:
            raise KeyError(f"no rule for the constant {name}={value!r}")


def _set_assigner(assigner: DictConfig, name: str, value: float) -> None:
    if re.search(r"frac", name):
        assigner.positive_fraction = value
    elif re.search(r"samples|batch", name):
        assigner.num_samples = value
    elif isinstance(value, int):
        assigner.max_queries = value
    else:
        assigner.matcher.thresholds[0 if "low" in name else -1] = value


def _detrex_deta(fixture: "Fixture") -> DictConfig:
    options = Options(fixture.config)
    first_stage = options.same("criterion.assign_first_stage", "transformer.assign_first_stage")
    second_stage = options["criterion.assign_second_stage"]
    model = _compose(first_stage, second_stage)
    model.num_classes = options.same("num_classes", "criterion.num_classes")
    model.neck.embed_dim = options.same(
        "embed_dim",
        "neck.out_channels",
        "neck.norm_layer.num_channels",
        "transformer.encoder.embed_dim",
        "transformer.decoder.embed_dim",
    )
    if 2 * options["position_embedding.num_pos_feats"] != model.neck.embed_dim:
        raise KeyError("cannot express a width of position_embedding that is not that of the tokens")
    model.neck.num_levels = options.same(
        "neck.num_outs",
        "transformer.num_feature_levels",
        "transformer.encoder.num_feature_levels",
        "transformer.decoder.num_feature_levels",
    )
    model.neck.position_embedding.temperature = float(options["position_embedding.temperature"])
    model.neck.position_embedding.offset = float(options["position_embedding.offset"])
    model.selection.num_queries = options.same(
        "num_queries", "criterion.num_queries", "transformer.two_stage_num_proposals"
    )
    set_layers(model, _layers(options, "encoder"), _layers(options, "decoder"))
    model.heads.inverse_sigmoid_eps = DETREX_SIGMOID_EPS
    _set_detrex_criterion(model, options, fixture.description["loss_weights"])
    detections = options["select_box_nums_for_evaluation"]
    if not second_stage:  # the other post-processing has a literal in its place
        model.postprocess.num_detections = detections
    options.check_all_read()
    _set_constants(model, fixture)
    return model


def _layers(options: Options, part: str) -> dict[str, Any]:
    return {
        "num_layers": options[f"transformer.{part}.num_layers"],
        "num_heads": options[f"transformer.{part}.num_heads"],
        "ffn_dim": options[f"transformer.{part}.feedforward_dim"],
        "dropout": 0.0,
    }


def _set_detrex_criterion(model: DictConfig, options: Options, weights: dict[str, float]) -> None:
    set_losses(model, weights, options["criterion.alpha"], options["criterion.gamma"])
    set_focal_cost(model, options["criterion.matcher.alpha"], options["criterion.matcher.gamma"])
    costs = {kind: options[f"criterion.matcher.cost_{kind}"] for kind in ("class", "bbox", "giou")}
    for rule in model.criterion.rules.values():
        rule.losses.giou.eps = DETREX_EPS
        if "iou_eps" in rule.assigner:
            rule.assigner.iou_eps = DETREX_EPS
        else:
            rule.assigner.update(class_weight=costs["class"], l1_weight=costs["bbox"], giou_weight=costs["giou"])
            rule.assigner.giou_eps = DETREX_EPS


class RecordedSampling:
    """An assigner by overlap that gets the recorded permutations from the generator.

    Args:
        assigner: assigns.
        permutations: for each image with objects, one of the positives and one of the background.
    """

    def __init__(self, assigner: IoUAssigner, permutations: list[Tensor]) -> None:
        self.assigner = assigner
        self.permutations = permutations

    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        with _drawing(self.permutations):
            return self.assigner(predictions, targets)


@contextmanager
def _drawing(permutations: list[Tensor]) -> Iterator[None]:
    left = iter(permutations)

    def randperm(length: int, **_: Any) -> Tensor:
        permutation = next(left)
        assert len(permutation) == length, f"{length} queries to draw from, recorded {len(permutation)}"
        return permutation

    with mock.patch.object(torch, "randperm", randperm):
        yield
    assert not list(left), "more permutations recorded than drawn"


def replay_sampling(fixture: "Fixture", detector: QueryDetector, which: str, targets: Targets) -> None:
    """Let assigners by overlap keep the recorded random part of their positives.

    Recorded are two permutations for every image of the second stage, then two for each image of the first stage that
    has objects. Ours draws nothing for images without objects in either.
    """
    recorded = [value for _, value in sorted(fixture.group(f"train{which}/rng/").items())]
    for rule in detector.criterion.rules.values():
        if not isinstance(rule.assigner, IoUAssigner):
            continue
        mine: list[Tensor] = []
        for count in targets.counts:
            drawn = 2 if count or rule.stage is Stage.DECODER else 0
            mine += recorded[:drawn] if count else []
            recorded = recorded[drawn:]
        rule.assigner = RecordedSampling(rule.assigner, mine)  # type: ignore[assignment]
    assert not recorded or detector.denoising is not None


MODELS = {"deta": _deta, "detrex_deta": _detrex_deta}
