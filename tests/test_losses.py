import pytest
import torch

from querydet.losses import FocalLoss, GIoULoss, L1Loss, MatchedPairs
from querydet.structures import Assignment
from tests.models import make_predictions, make_targets
from tests.reference import assignment as reference


def matched(queries: list[list[int]], objects: list[list[int]], counts: list[int]) -> MatchedPairs:
    assignments = tuple(
        Assignment(torch.tensor(query, dtype=torch.int64), torch.tensor(index, dtype=torch.int64))
        for query, index in zip(queries, objects, strict=True)
    )
    return MatchedPairs.gather(assignments, make_targets(counts))


def test_terms_agree_with_loops_over_their_definitions() -> None:
    predicted, pairs = make_predictions(2, 4), matched([[1, 3], [0]], [[1, 0], [0]], [2, 1])
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
    assert FocalLoss(weight=1.0)(predicted, pairs).item() == pytest.approx(focal, rel=1e-5)
    l1 = giou = 0.0
    for image, query, gt in zip(pairs.image, pairs.query, pairs.boxes.tolist(), strict=True):
        box = predicted.boxes[image, query].tolist()
        l1 += sum(abs(a - b) for a, b in zip(box, gt, strict=True))
        giou += 1 - reference.giou(box, gt, 1e-6)
    assert L1Loss(weight=1.0)(predicted, pairs).item() == pytest.approx(l1, rel=1e-5)
    assert GIoULoss(weight=1.0, eps=1e-6)(predicted, pairs).item() == pytest.approx(giou, rel=1e-5)


def test_without_pairs_box_losses_are_zero_and_keep_the_graph() -> None:
    predicted = make_predictions(1, 3)
    predicted.boxes.requires_grad_()
    pairs = matched([[]], [[]], [0])
    total = L1Loss(weight=1.0)(predicted, pairs) + GIoULoss(weight=1.0)(predicted, pairs)
    assert total.item() == 0
    total.backward()
    assert torch.equal(predicted.boxes.grad, torch.zeros(1, 3, 4))


def test_pairs_look_up_the_objects_of_their_own_image() -> None:
    pairs = matched([[2], [0]], [[1], [0]], [2, 1])
    targets = make_targets([2, 1])
    assert pairs.image.tolist() == [0, 1]
    assert torch.equal(pairs.boxes, torch.stack([targets.boxes[0][1], targets.boxes[1][0]]))
    assert pairs.labels.tolist() == [targets.labels[0][1].item(), targets.labels[1][0].item()]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_query_of_two_objects_has_the_class_of_the_last_pair_and_the_boxes_of_both(order: list[int]) -> None:
    predicted, targets = make_predictions(1, 3), make_targets([2])
    labels = torch.tensor([2, 4])
    pairs = MatchedPairs(
        image=torch.zeros(2, dtype=torch.int64),
        query=torch.tensor([1, 1]),
        labels=labels[order],
        boxes=targets.boxes[0][order],
        ignored=None,
    )
    alone = MatchedPairs(pairs.image[1:], pairs.query[1:], pairs.labels[1:], pairs.boxes[1:], None)
    focal = FocalLoss(weight=1.0)
    assert focal(predicted, pairs).item() == focal(predicted, alone).item()
    both = (predicted.boxes[0, 1] - targets.boxes[0]).abs().sum().item()
    assert L1Loss(weight=1.0)(predicted, pairs).item() == pytest.approx(both)
