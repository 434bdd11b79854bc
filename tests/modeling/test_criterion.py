from dataclasses import replace

import pytest
import torch

from querydet.modeling.assigners import HungarianAssigner, KnownAssigner
from querydet.modeling.criterion import Criterion, SupervisionRule, check_finite
from querydet.modeling.losses import FocalLoss, L1Loss
from querydet.structures import Assignment, PredictionSet, QueryGroup, Role, Stage
from tests.models import make_predictions, make_targets


def rule(stage: str = "decoder", role: str = "matching", **more: object) -> SupervisionRule:
    assigner = KnownAssigner() if role == "denoising" else HungarianAssigner()
    losses = [FocalLoss(weight=1.0), L1Loss(weight=5.0)]
    return SupervisionRule(stage=stage, role=role, assigner=assigner, losses=losses, **more)  # type: ignore[arg-type]


def denoising_set() -> PredictionSet:
    """Two copies of one object of image 0, as queries 0 and 2 of four."""
    nothing = torch.zeros(0, dtype=torch.int64)
    known = (Assignment(torch.tensor([0, 2]), torch.tensor([0, 0])), Assignment(nothing, nothing))
    group = QueryGroup("denoising", 0, 4, Role.DENOISING, block_size=2, loss_divisor=2, loss_suffix="dn", known=known)
    return replace(make_predictions(2, 4), group=group, is_last=True)


def test_names_say_stage_role_and_layer() -> None:
    sets = (
        replace(make_predictions(2, 4), stage=Stage.ENCODER, is_last=True),
        denoising_set(),
        replace(denoising_set(), layer=0, is_last=False),
        replace(make_predictions(2, 4), layer=0),
        replace(make_predictions(2, 4), layer=1, is_last=True),
    )
    losses = Criterion(rules=[rule(), rule("encoder"), rule(role="denoising")])(sets, make_targets([1, 2]))
    suffixes = ("", "_0", "_enc", "_dn", "_dn_0")
    assert set(losses) == {f"loss_{term}{suffix}" for term in ("class", "l1") for suffix in suffixes}


def test_known_pairs_are_divided_by_objects_and_divisor() -> None:
    predicted, targets = denoising_set(), make_targets([1, 2])
    loss = rule(role="denoising")((predicted,), targets)["loss_l1_dn"]
    wanted = sum((predicted.boxes[0, query] - targets.boxes[0][0]).abs().sum() for query in (0, 2)) * 5 / (3 * 2)
    torch.testing.assert_close(loss, wanted)


def test_the_divisor_is_the_mean_over_processes_but_at_least_one() -> None:
    predicted, targets = make_predictions(1, 4), make_targets([2])
    plain = rule()((predicted,), targets)["loss_l1_3"]
    half = rule()((predicted,), replace(targets, mean_objects_per_micro_batch=4.0))["loss_l1_3"]
    torch.testing.assert_close(half * 2, plain)
    few = rule()((predicted,), replace(targets, mean_objects_per_micro_batch=0.5))["loss_l1_3"]
    torch.testing.assert_close(few, plain * 2)


def test_class_agnostic_trains_the_first_column_as_objectness() -> None:
    targets = replace(make_targets([1]), labels=(torch.tensor([3]),))
    predicted = replace(make_predictions(1, 1), stage=Stage.ENCODER)
    predicted.logits.requires_grad_()
    rule("encoder", class_agnostic=True)((predicted,), targets)["loss_class_enc_3"].backward()
    assert (predicted.logits.grad[0, 0] < 0).tolist() == [True, False, False, False, False]


def test_a_rule_without_predictions_and_predictions_without_a_rule() -> None:
    sets, targets = (make_predictions(1, 4),), make_targets([1])
    with pytest.raises(ValueError, match="encoder matching queries selects nothing"):
        Criterion(rules=[rule(), rule("encoder")])(sets, targets)
    with pytest.raises(ValueError, match=r"no supervision rules select decoder layer 3 \(primary queries\)"):
        Criterion(rules=[rule("encoder")])((replace(sets[0], stage=Stage.ENCODER), *sets), targets)


def test_values_that_are_not_finite_name_layer_and_image() -> None:
    good, bad = make_predictions(2, 4), denoising_set()
    bad.logits[1, 2, 0] = torch.inf
    with pytest.raises(FloatingPointError, match=r"logits of decoder layer 3 \(denoising queries\) in image1.jpg"):
        check_finite((good, bad), ("image0.jpg", "image1.jpg"))
    check_finite((good,), ("image0.jpg", "image1.jpg"))


def test_predictions_that_two_rules_select() -> None:
    with pytest.raises(ValueError, match=r"2 supervision rules select decoder layer 3 \(primary queries\)"):
        Criterion(rules=[rule(), rule()])((make_predictions(1, 4),), make_targets([1]))


def test_empty_definitions() -> None:
    with pytest.raises(ValueError, match="at least one supervision rule"):
        Criterion(rules=[])
    with pytest.raises(ValueError, match="decoder matching queries has no losses"):
        SupervisionRule(stage="decoder", assigner=HungarianAssigner(), losses=[])


def test_known_assigner_is_for_denoising() -> None:
    with pytest.raises(ValueError, match="carry no known pairs"):
        KnownAssigner()(make_predictions(1, 4), make_targets([1]))
