from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.losses import FocalLoss, GIoULoss, JoinedPredictions, L1Loss, MatchedPairs, join
from querydet.structures import Assignment, PredictionSet, QueryGroup, Targets
from tests.models import make_predictions, make_targets
from tests.reference import assignment as reference


def matched(
    predicted: PredictionSet, queries: list[list[int]], objects: list[list[int]], counts: list[int]
) -> tuple[JoinedPredictions, MatchedPairs]:
    assignments = tuple(
        Assignment(torch.tensor(query, dtype=torch.int64), torch.tensor(index, dtype=torch.int64))
        for query, index in zip(queries, objects, strict=True)
    )
    return join([predicted], [assignments], make_targets(counts))


def test_terms_agree_with_loops_over_their_definitions() -> None:
    predicted, pairs = matched(make_predictions(2, 4), [[1, 3], [0]], [[1, 0], [0]], [2, 1])
    targets = {
        (i, q): label
        for i, q, label in zip(pairs.image.tolist(), pairs.query.tolist(), pairs.labels.tolist(), strict=True)
    }
    focal = sum(
        reference.focal_loss(predicted.logits[image, query, column].item(), targets.get((image, query)) == column)
        for image in range(2)
        for query in range(4)
        for column in range(5)
    )
    assert FocalLoss(weight=1.0)(predicted, pairs).sum().item() == pytest.approx(focal, rel=1e-5)
    l1 = giou = 0.0
    for image, query, gt in zip(pairs.image, pairs.query, pairs.boxes.tolist(), strict=True):
        box = predicted.boxes[image, query].tolist()
        l1 += sum(abs(a - b) for a, b in zip(box, gt, strict=True))
        giou += 1 - reference.giou(box, gt, 1e-6)
    assert L1Loss(weight=1.0)(predicted, pairs).sum().item() == pytest.approx(l1, rel=1e-5)
    assert GIoULoss(weight=1.0, eps=1e-6)(predicted, pairs).sum().item() == pytest.approx(giou, rel=1e-5)


def test_without_pairs_box_losses_are_zero_and_keep_the_graph() -> None:
    predicted, pairs = matched(make_predictions(1, 3), [[]], [[]], [0])
    predicted.boxes.requires_grad_()
    total = (L1Loss(weight=1.0)(predicted, pairs) + GIoULoss(weight=1.0)(predicted, pairs)).sum()
    assert total.item() == 0
    total.backward()
    assert torch.equal(predicted.boxes.grad, torch.zeros(1, 3, 4))


def test_pairs_look_up_the_objects_of_their_own_image() -> None:
    _, pairs = matched(make_predictions(2, 4), [[2], [0]], [[1], [0]], [2, 1])
    targets = make_targets([2, 1])
    assert pairs.image.tolist() == [0, 1]
    assert torch.equal(pairs.boxes, torch.stack([targets.boxes[0][1], targets.boxes[1][0]]))
    assert pairs.labels.tolist() == [targets.labels[0][1].item(), targets.labels[1][0].item()]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_query_of_two_objects_has_the_class_of_the_last_pair_and_the_boxes_of_both(order: list[int]) -> None:
    predicted, pairs = matched(make_predictions(1, 3), [[1, 1]], [order], [2])
    pairs = replace(pairs, labels=torch.tensor([2, 4])[order])
    _, alone = matched(make_predictions(1, 3), [[1]], [order[1:]], [2])
    alone = replace(alone, labels=pairs.labels[1:])
    focal = FocalLoss(weight=1.0)
    assert torch.equal(focal(predicted, pairs), focal(predicted, alone))
    both = (predicted.boxes[0, 1] - pairs.boxes).abs().sum().item()
    assert L1Loss(weight=1.0)(predicted, pairs).sum().item() == pytest.approx(both)


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


def rule() -> SupervisionRule:
    terms = [FocalLoss(weight=1.0), L1Loss(weight=5.0), GIoULoss(weight=2.0)]
    return SupervisionRule(stage="decoder", assigner=FirstQueries(), losses=terms)


def test_sets_have_the_losses_together_that_they_have_alone() -> None:
    sets, targets = sets_of_a_step(), make_targets([3, 0])
    together = rule()(sets, targets)
    alone: dict[str, torch.Tensor] = {}
    for each in sets:
        alone |= rule()([each], targets)
    assert len(together) == 12
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, msg=name)
    summed = rule()([replace(each, layer=1, is_last=True) for each in sets], targets)
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
            rule()(sets, targets, assigned)
        counted.append(counter.calls)
    assert counted[1] < counted[0] + 12 * 8, counted  # reading sizes included


def test_a_term_that_sums_itself_is_told_not_to() -> None:
    class Total:
        name, weight = "total", 1.0

        def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> torch.Tensor:
            return predictions.boxes.sum()

    summing = SupervisionRule(stage="decoder", assigner=FirstQueries(), losses=[Total()])
    with pytest.raises(
        ValueError, match=r"total \(Total\) has to return a loss of each query \(2, 6\) or of each pair"
    ):
        summing([make_predictions(2, 6)], make_targets([1, 1]))
