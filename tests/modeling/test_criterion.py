from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from querydet.modeling.assigners import HungarianAssigner, KnownAssigner
from querydet.modeling.criterion import Criterion, SupervisionRule, check_finite
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.structures import (
    Assignment,
    Blocks,
    JoinedPredictions,
    MatchedPairs,
    ObjectCount,
    PredictionSet,
    QueryGroup,
    Role,
    Stage,
    Targets,
)
from tests.models import make_predictions, make_targets


def rule(stage: str = "decoder", role: str = "matching", **more: object) -> SupervisionRule:
    assigner = KnownAssigner() if role == "denoising" else HungarianAssigner()
    losses = {"class": FocalLoss(weight=1.0), "l1": L1Loss(weight=5.0)}
    return SupervisionRule(stage=stage, role=role, assigner=assigner, losses=losses, **more)  # type: ignore[arg-type]


def denoising_set() -> PredictionSet:
    """Two copies of one object of image 0, as queries 0 and 2 of four."""
    nothing = torch.zeros(0, dtype=torch.int64)
    known = (Assignment(torch.tensor([0, 2]), torch.tensor([0, 0])), Assignment(nothing, nothing))
    blocks = (Blocks(2, 2), Blocks(0, 0))
    group = QueryGroup("denoising", 0, 4, Role.DENOISING, blocks=blocks, loss_divisor=2, loss_suffix="dn", known=known)
    return replace(make_predictions(2, 4), group=group, is_last=True)


def test_names_say_stage_role_and_layer() -> None:
    sets = (
        replace(make_predictions(2, 4), stage=Stage.ENCODER, is_last=True),
        denoising_set(),
        replace(denoising_set(), layer=0, is_last=False),
        replace(make_predictions(2, 4), layer=0),
        replace(make_predictions(2, 4), layer=1, is_last=True),
    )
    rules = {"any": rule(), "name": rule("encoder"), "will do": rule(role="denoising")}
    losses = Criterion(rules=rules)(sets, make_targets([1, 2]))
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
    half = rule()((predicted,), replace(targets, step=ObjectCount((4,))))["loss_l1_3"]
    torch.testing.assert_close(half * 2, plain)
    few = rule()((predicted,), replace(targets, step=ObjectCount((0,))))["loss_l1_3"]
    torch.testing.assert_close(few, plain * 2)


def test_class_agnostic_trains_the_first_column_as_objectness() -> None:
    targets = replace(make_targets([1]), labels=(torch.tensor([3]),))
    predicted = replace(make_predictions(1, 1), stage=Stage.ENCODER)
    predicted.logits.requires_grad_()
    rule("encoder", class_agnostic=True)((predicted,), targets)["loss_class_enc_3"].backward()
    assert (predicted.logits.grad[0, 0] < 0).tolist() == [True, False, False, False, False]


def test_a_rule_without_predictions_and_predictions_without_a_rule() -> None:
    sets, targets = (make_predictions(1, 4),), make_targets([1])
    with pytest.raises(ValueError, match=r"encoder matching queries selects nothing: remove it \(.*rules\.second\)"):
        Criterion(rules={"first": rule(), "second": rule("encoder")})(sets, targets)
    with pytest.raises(ValueError, match=r"no supervision rules select decoder layer 3 \(primary queries\)"):
        Criterion(rules={"encoder": rule("encoder")})((replace(sets[0], stage=Stage.ENCODER), *sets), targets)


def test_values_that_are_not_finite_name_layer_and_image() -> None:
    good, bad = make_predictions(2, 4), denoising_set()
    bad.logits[1, 2, 0] = torch.inf
    with pytest.raises(FloatingPointError, match=r"logits of decoder layer 3 \(denoising queries\) in image1.jpg"):
        check_finite((good, bad), ("image0.jpg", "image1.jpg"))
    check_finite((good,), ("image0.jpg", "image1.jpg"))


def test_predictions_that_two_rules_select() -> None:
    with pytest.raises(ValueError, match=r"2 supervision rules select decoder layer 3 \(primary queries\) \(a, b\)"):
        Criterion(rules={"a": rule(), "b": rule()})((make_predictions(1, 4),), make_targets([1]))


def test_empty_definitions() -> None:
    with pytest.raises(ValueError, match="at least one supervision rule"):
        Criterion(rules={})
    with pytest.raises(ValueError, match="at least one supervision rule"):
        Criterion(rules={"decoder": None})
    with pytest.raises(ValueError, match="decoder matching queries has no losses"):
        SupervisionRule(stage="decoder", assigner=HungarianAssigner(), losses={"l1": None})


def test_rules_and_losses_need_names() -> None:
    with pytest.raises(TypeError, match="rules of the criterion have names: give a dict, found list"):
        Criterion(rules=[rule()])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="losses of a supervision rule have names: give a dict, found tuple"):
        SupervisionRule(stage="decoder", assigner=HungarianAssigner(), losses=(L1Loss(weight=1.0),))  # type: ignore[arg-type]


def test_a_rule_or_a_loss_that_is_none_is_left_out() -> None:
    criterion = Criterion(rules={"decoder": rule(), "encoder": None})
    assert list(criterion.rules) == ["decoder"]
    terms = {"class": None, "l1": L1Loss(weight=5.0)}
    only_boxes = SupervisionRule(stage="decoder", assigner=HungarianAssigner(), losses=terms)
    assert list(only_boxes((make_predictions(1, 4),), make_targets([2]))) == ["loss_l1_3"]


def test_the_key_of_a_term_names_its_loss() -> None:
    terms = {"l1": L1Loss(weight=5.0), "l1 again": L1Loss(weight=10.0)}
    losses = SupervisionRule(stage="decoder", assigner=HungarianAssigner(), losses=terms)(
        (make_predictions(1, 4),), make_targets([2])
    )
    torch.testing.assert_close(losses["loss_l1 again_3"], 2 * losses["loss_l1_3"])


def test_a_term_with_a_normalizer_of_its_own_is_divided_by_that() -> None:
    class ByFour(L1Loss):
        @staticmethod
        def normalizer(predictions: PredictionSet, targets: Targets) -> float:
            return 4.0

    terms = {"l1": L1Loss(weight=1.0), "own": ByFour(weight=1.0)}
    losses = SupervisionRule(stage="decoder", assigner=HungarianAssigner(), losses=terms)(
        (make_predictions(1, 4),), make_targets([2])
    )
    torch.testing.assert_close(losses["loss_own_3"] * 4, losses["loss_l1_3"] * 2)


def test_assigned_once_all_layers_have_the_pairs_of_the_first() -> None:
    class CountCalls(HungarianAssigner):
        calls = 0

        def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
            CountCalls.calls += len(predictions)
            return super().compute(predictions, targets)

    sets, targets = [replace(make_predictions(1, 4, seed=n), layer=n) for n in range(3)], make_targets([2])
    (first,) = CountCalls()(sets[0], targets)
    CountCalls.calls = 0
    once = SupervisionRule(stage="decoder", assigner=CountCalls(), losses={"l1": L1Loss(weight=1.0)}, assign_once=True)(
        sets, targets
    )
    assert CountCalls.calls == 1
    for each in sets:
        wanted = (each.boxes[0, first.queries] - targets.boxes[0][first.objects]).abs().sum() / 2
        torch.testing.assert_close(once[f"loss_l1_{each.layer}"], wanted)


def sets_of_a_step() -> list[PredictionSet]:
    """Two layers of two groups of unequal size, the second with a smaller weight."""
    found = []
    for layer in range(2):
        for name, size, weight in (("primary", 6, 1.0), ("extra", 9, 0.5)):
            made = make_predictions(2, size, seed=10 * layer + size)
            group = QueryGroup(name, 0, size, loss_weight=weight, loss_divisor=3, loss_suffix="o2m" * (name == "extra"))
            found.append(replace(made, layer=layer, is_last=layer == 1, group=group))
    return found


class FirstQueries:
    """Gives every object one query, or leaves out queries."""

    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        numbers = [torch.arange(min(count, len(predictions.group) - 4)) for count in targets.counts]
        ignored = torch.arange(len(predictions.group)) > 6 if len(predictions.group) > 6 else None
        return tuple(Assignment(each + 1, each.flip(0), ignored) for each in numbers)


def rule_of_three_terms() -> SupervisionRule:
    terms = {"class": FocalLoss(weight=1.0), "l1": L1Loss(weight=5.0), "giou": GIoULoss(weight=2.0)}
    return SupervisionRule(stage="decoder", assigner=FirstQueries(), losses=terms)


def test_sets_have_the_losses_together_that_they_have_alone() -> None:
    sets, targets = sets_of_a_step(), make_targets([3, 0])
    together = rule_of_three_terms()(sets, targets)
    alone: dict[str, torch.Tensor] = {}
    for each in sets:
        alone |= rule_of_three_terms()([each], targets)
    assert len(together) == 12
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, msg=name)
    summed = rule_of_three_terms()([replace(each, layer=1, is_last=True) for each in sets], targets)
    for name, value in summed.items():
        torch.testing.assert_close(
            value, sum(v for key, v in alone.items() if key.removesuffix("_0") == name), msg=name
        )


class CountCalls(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_more_layers_cost_hardly_more_operators() -> None:
    # On a GPU a step of small tensors takes as long as starting its operators.
    counted = []
    for layers in (1, 12):
        sets = [replace(make_predictions(2, 6), layer=layer, is_last=False) for layer in range(layers)]
        targets = make_targets([2, 1])
        assigned = [FirstQueries()(each, targets) for each in sets]
        with CountCalls() as counter:
            rule_of_three_terms()(sets, targets, assigned)
        counted.append(counter.calls)
    assert counted[1] < counted[0] + 12 * 8, counted  # reading sizes included


def test_a_term_that_sums_itself_is_told_not_to() -> None:
    class Total:
        weight = 1.0

        def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> torch.Tensor:
            return predictions.boxes.sum()

    summing = SupervisionRule(stage="decoder", assigner=FirstQueries(), losses={"total": Total()})
    with pytest.raises(
        ValueError, match=r"total \(Total\) has to return a loss of each query \(2, 6\) or of each pair"
    ):
        summing([make_predictions(2, 6)], make_targets([1, 1]))
