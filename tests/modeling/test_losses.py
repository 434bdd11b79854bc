from dataclasses import replace

import pytest
import torch

from querydet.modeling.joining import join
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss, class_of_queries
from querydet.structures import Assignment, JoinedPredictions, MatchedPairs, PredictionSet
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


def test_the_class_of_a_query_does_not_depend_on_the_other_images() -> None:
    predicted, pairs = matched(make_predictions(2, 3), [[2], [0]], [[0], [0]], [1, 1])
    pairs = replace(pairs, labels=torch.tensor([3, 1]))
    assert class_of_queries(predicted.logits, pairs).tolist() == [[5, 5, 3], [1, 5, 5]]
