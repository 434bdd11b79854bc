"""Align-DETR's losses: the numbers of the released code, and properties."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.modeling.align import IoUAwareClassLoss, RankWeights, quality, ranks
from querydet.modeling.assigners import Copies, HungarianAssigner, OneToManyAssigner
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.joining import join
from querydet.modeling.losses import GIoULoss, L1Loss
from querydet.modeling.normalizers import MeanObjects
from querydet.structures import Assignment, JoinedPredictions, MatchedPairs, PredictionSet, Targets
from tests.modeling.assigners.vector import recorded
from tests.models import make_predictions, make_targets


def aligned(assigner, times: float = 1.0, predictions: PredictionSet | None = None) -> dict[str, float]:
    """The losses of a rule with ranks, of the predictions of `vector` or of others."""
    given, targets = recorded()
    rule = SupervisionRule(
        stage="decoder",
        assigner=assigner,
        losses={"class": IoUAwareClassLoss(weight=1.0), "l1": L1Loss(weight=1.0), "giou": GIoULoss(weight=1.0)},
        pair_weights=RankWeights(tau=1.5),
        normalizer=MeanObjects(times),
    )
    assigned = [assigner(given, targets)]
    found = rule([predictions or given], targets, assigned)
    return {name.split("_")[1]: value.item() for name, value in found.items()}


def joined(assigner) -> tuple[JoinedPredictions, MatchedPairs]:
    predictions, targets = recorded()
    return join([predictions], [assigner(predictions, targets)], targets)


def test_one_pair_of_each_object_has_the_released_losses() -> None:
    found = aligned(HungarianAssigner())
    assert found == pytest.approx({"class": 0.513692, "l1": 0.040667, "giou": 0.279400}, abs=2e-6)


def test_two_pairs_of_each_object_have_the_released_losses_and_weights() -> None:
    assigner = HungarianAssigner(copies=2)
    assert aligned(assigner) == pytest.approx({"class": 1.065565, "l1": 0.124379, "giou": 0.573232}, abs=2e-6)
    predictions, matched = joined(assigner)
    weights = dict(zip(matched.query.tolist(), RankWeights(tau=1.5)(predictions, matched).tolist(), strict=True))
    assert weights == pytest.approx({0: 1, 1: 0.5134, 2: 0.5134, 4: 1, 8: 1, 11: 0.5134}, abs=1e-4)


def test_a_query_of_two_objects_of_different_classes_has_two_targets_as_released() -> None:
    assigner = OneToManyAssigner(order="object")
    predictions, _ = recorded()
    moved = replace(predictions, boxes=predictions.boxes + torch.tensor([0.004, 0, 0, 0]))
    found = aligned(assigner, 3.0, moved)
    assert found == pytest.approx({"class": 0.455379, "l1": 0.014562, "giou": 0.107444}, abs=2e-6)


def loop(logits: Tensor, pairs: MatchedPairs, boxes: Tensor) -> float:
    """The definition, entry by entry."""
    targets = {}
    values = quality(JoinedPredictions(logits, boxes, (logits.shape[1],)), pairs, 0.25, 0.01)
    for index in range(len(pairs.query)):
        place = (int(pairs.image[index]), int(pairs.query[index]), int(pairs.labels[index]))
        targets[place] = float(values[index]) * (1.0 if pairs.weights is None else float(pairs.weights[index]))
    total = 0.0
    for place, logit in zip(torch.cartesian_prod(*map(torch.arange, logits.shape)), logits.flatten(), strict=True):
        p = logit.double().sigmoid()
        t = targets.get(tuple(place.tolist()))
        total += float(-(1 - p).log() * p**2 if t is None else -t * p.log() - (1 - t) * (1 - p).log())
    return total


@pytest.mark.parametrize("seed", range(3))
def test_it_is_its_definition(seed: int) -> None:
    predicted, targets = make_predictions(2, 6, seed=seed), make_targets([3, 1])
    first = Assignment(torch.tensor([1, 1, 4]), torch.tensor([0, 1, 2]))
    assigned = (first, Assignment(torch.tensor([2]), torch.tensor([0])))
    predictions, matched = join([predicted], [assigned], targets)
    weighted = replace(matched, weights=torch.tensor([1.0, 0.5, 0.3, 0.7]))
    for pairs in (matched, weighted):
        found = IoUAwareClassLoss(weight=1.0)(predictions, pairs).sum().item()
        assert found == pytest.approx(loop(predictions.logits, pairs, predictions.boxes), rel=1e-5)


def perfect(logit: float) -> tuple[JoinedPredictions, MatchedPairs]:
    """One query of two classes whose box is that of its object of class 1."""
    targets = make_targets([1])
    targets = replace(targets, labels=(torch.tensor([1]),))
    predicted = make_predictions(1, 1, classes=2)
    predicted = replace(predicted, boxes=targets.boxes[0][None], logits=torch.tensor([[[-50.0, logit]]]))
    return join([predicted], [(Assignment(torch.tensor([0]), torch.tensor([0])),)], targets)


def test_of_a_perfect_box_without_probability_it_is_cross_entropy() -> None:
    predictions, matched = perfect(0.3)
    found = IoUAwareClassLoss(weight=1.0, alpha=0.0)(predictions, matched)
    wanted = F.binary_cross_entropy_with_logits(torch.tensor(0.3), torch.tensor(1.0))
    torch.testing.assert_close(found[0, 0], wanted)


@pytest.mark.parametrize("logit", [-40.0, 40.0, -100.0, 100.0])
def test_extreme_logits_have_finite_losses_and_gradients(logit: float) -> None:
    predictions, matched = perfect(logit)
    predictions.logits.requires_grad_()
    loss = IoUAwareClassLoss(weight=1.0)(predictions, matched).sum()
    loss.backward()
    assert loss.isfinite()
    assert predictions.logits.grad.isfinite().all()


def test_the_quality_has_no_gradient() -> None:
    predicted, targets = make_predictions(1, 4), make_targets([2])
    predicted.boxes.requires_grad_()
    predicted.logits.requires_grad_()
    predictions, matched = join([predicted], [HungarianAssigner()(predicted, targets)], targets)
    assert not quality(predictions, matched, 0.25, 0.01).requires_grad
    assert not RankWeights()(predictions, matched).requires_grad


def test_without_pairs_all_queries_are_background() -> None:
    predicted, targets = make_predictions(2, 3), make_targets([0, 0])
    predictions, matched = join([predicted], [HungarianAssigner()(predicted, targets)], targets)
    assert RankWeights()(predictions, matched).shape == (0,)
    p = predictions.logits.sigmoid()
    torch.testing.assert_close(IoUAwareClassLoss(weight=1.0)(predictions, matched), (-(p**2) * (1 - p).log()).sum(-1))


def test_ranks_by_hand() -> None:
    values = torch.tensor([0.2, 0.9, 0.5, 0.5, 0.5, 0.1])
    owners = torch.tensor([7, 2, 7, 2, 7, 2])
    ties = torch.tensor([0, 1, 9, 3, 4, 5])
    assert ranks(values, owners, ties).tolist() == [2, 0, 1, 1, 0, 2]


def test_each_set_and_image_has_ranks_of_its_own() -> None:
    predicted, targets = make_predictions(2, 8), make_targets([2, 3])
    sets = [predicted, replace(predicted, layer=1)]
    assigner = HungarianAssigner(copies=2)
    assigned = [assigner(each, targets) for each in sets]
    predictions, matched = join(sets, assigned, targets)
    weights = RankWeights(tau=1.0)(predictions, matched)
    assert (weights == 1).sum() == 2 * (2 + 3)
    _, alone = join([predicted], assigned[:1], targets)
    half = len(alone.query)
    assert torch.equal(weights[:half], weights[half:])
    assert len(set(matched.object.tolist())) == 2 * (2 + 3)


@pytest.mark.parametrize(("options", "found"), [({"alpha": 1.5}, "1.5"), ({"floor": -0.1}, "-0.1"), ({"tau": 0}, "0")])
def test_numbers_out_of_their_range_are_refused(options: dict[str, float], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        RankWeights(**options)


def test_the_order_of_images_does_not_matter_unless_crowds_carry_over() -> None:
    predicted, targets = make_predictions(2, 9), make_targets([4, 2])
    turned = replace(predicted, logits=predicted.logits.flip(0), boxes=predicted.boxes.flip(0))
    back = replace(targets, labels=targets.labels[::-1], boxes=targets.boxes[::-1])
    for carry_over in (False, True):
        assigner = HungarianAssigner(copies=Copies(2, max_part=0.5, carry_over=carry_over))
        totals = [_total(each, of, assigner) for each, of in ((predicted, targets), (turned, back))]
        assert (totals[0] == pytest.approx(totals[1], rel=1e-6)) is not carry_over


def _total(predictions: PredictionSet, targets: Targets, assigner: HungarianAssigner) -> float:
    joined_, matched = join([predictions], [assigner(predictions, targets)], targets)
    return IoUAwareClassLoss(weight=1.0)(joined_, matched).sum().item()
