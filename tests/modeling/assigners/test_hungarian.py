from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from querydet.modeling.assigners import HungarianAssigner, hungarian
from querydet.modeling.boxes import cxcywh_to_xyxy, generalized_iou
from querydet.ops.matching_cost import giou_cost, l1_cost
from tests.models import make_predictions, make_targets
from tests.reference import assignment as reference


@pytest.mark.parametrize("seed", range(4))
def test_optimum_of_all_assignments(seed: int) -> None:
    predicted, targets = make_predictions(2, 6, seed=seed), make_targets([3, 2])
    assigned = HungarianAssigner(giou_eps=1e-6)(predicted, targets)
    for image, found in enumerate(assigned):
        labels, boxes = targets.labels[image].tolist(), targets.boxes[image].tolist()
        costs = [
            [
                reference.cost(predicted.logits[image, query, label].item(), box.tolist(), gt, 1e-6)
                for label, gt in zip(labels, boxes, strict=True)
            ]
            for query, box in enumerate(predicted.boxes[image])
        ]
        _, wanted = reference.best_assignment(costs)
        pairs = dict(zip(found.objects.tolist(), found.queries.tolist(), strict=True))
        assert tuple(pairs[column] for column in range(len(labels))) == wanted


def test_permuting_objects_permutes_the_assignment() -> None:
    predicted, targets = make_predictions(1, 8), make_targets([4])
    order = torch.tensor([2, 0, 3, 1])
    permuted = make_targets([4])
    permuted = type(permuted)(
        labels=(targets.labels[0][order],),
        boxes=(targets.boxes[0][order],),
        names=targets.names,
        seeds=targets.seeds,
        step=targets.step,
    )
    (first,), (second,) = HungarianAssigner()(predicted, targets), HungarianAssigner()(predicted, permuted)
    assert torch.equal(first.queries, second.queries)
    assert torch.equal(first.objects, order[second.objects])


def test_no_objects() -> None:
    for found in HungarianAssigner()(make_predictions(2, 4), make_targets([0, 0])):
        assert found.queries.shape == found.objects.shape == (0,)


def test_more_objects_than_queries_matches_every_query() -> None:
    (found,) = HungarianAssigner()(make_predictions(1, 3), make_targets([5]))
    assert found.queries.tolist() == [0, 1, 2]
    assert len(set(found.objects.tolist())) == 3


def test_a_cost_that_is_not_finite_names_layer_image_and_query() -> None:
    predicted = make_predictions(2, 4)
    predicted.boxes[1, 2, 0] = torch.nan
    with pytest.raises(
        FloatingPointError, match=r"decoder layer 3 \(primary queries\) in image1.jpg: .* query 2 and object 0"
    ):
        HungarianAssigner()(predicted, make_targets([2, 2]))


@pytest.mark.parametrize("seed", range(4))
def test_a_group_with_repeats_gets_the_optimum_over_repeated_objects(seed: int) -> None:
    predicted, targets = make_predictions(2, 7, seed=seed), make_targets([2, 1])
    repeated = replace(predicted, group=replace(predicted.group, target_repeats=3))
    assigned = HungarianAssigner(giou_eps=1e-6)(repeated, targets)
    for image, found in enumerate(assigned):
        labels, boxes = targets.labels[image].tolist(), targets.boxes[image].tolist()
        costs = [
            [
                reference.cost(predicted.logits[image, query, label].item(), box.tolist(), gt, 1e-6)
                for label, gt in zip(labels * 3, boxes * 3, strict=True)
            ]
            for query, box in enumerate(predicted.boxes[image])
        ]
        least, _ = reference.best_assignment(costs)
        total = sum(costs[query][column] for query, column in zip(found.queries, found.objects, strict=True))
        assert total == pytest.approx(least, abs=1e-4)
        assert found.objects.bincount().tolist() == [3] * targets.counts[image]
        assert len(found.queries.unique()) == len(found.queries)


@pytest.mark.parametrize(("count", "matched"), [(0, 0), (4, 7), (9, 7)])
def test_repeats_without_objects_and_with_more_than_there_are_queries(count: int, matched: int) -> None:
    predicted = make_predictions(1, 7)
    (found,) = HungarianAssigner()(
        replace(predicted, group=replace(predicted.group, target_repeats=3)), make_targets([count])
    )
    assert len(found.queries) == len(found.objects) == matched
    assert (found.objects < max(count, 1)).all()


def test_start_boxes_are_compared_instead_of_the_predicted_ones() -> None:
    predicted, targets = make_predictions(1, 6), make_targets([3])
    swapped = replace(predicted, boxes=predicted.start_boxes, start_boxes=predicted.boxes)
    (found,), (wanted,) = HungarianAssigner(boxes="start")(predicted, targets), HungarianAssigner()(swapped, targets)
    assert torch.equal(found.queries, wanted.queries)
    assert torch.equal(found.objects, wanted.objects)
    with pytest.raises(ValueError, match="boxes must be 'predicted' or 'start', found 'anchors'"):
        HungarianAssigner(boxes="anchors")


def test_without_class_weight_the_logits_do_not_matter() -> None:
    predicted, targets = make_predictions(1, 6), make_targets([3])
    other = replace(predicted, logits=-predicted.logits)
    (found,), (wanted,) = (HungarianAssigner(class_weight=0.0)(each, targets) for each in (predicted, other))
    assert torch.equal(found.queries, wanted.queries)


@pytest.mark.parametrize("counts", [[3, 0, 7], [0, 0, 0], [40, 1, 9]])
@pytest.mark.parametrize("boxes", ["predicted", "start"])
def test_sets_together_are_assigned_as_by_the_plain_path(counts: list[int], boxes: str) -> None:
    """Layers, groups of two sizes and repeated objects in one call, against one scipy problem after the other."""
    sets = [replace(make_predictions(3, 30, seed=seed), layer=seed) for seed in range(4)]
    sets.insert(2, make_predictions(3, 20, seed=7))
    sets.append(replace(sets[0], group=replace(sets[0].group, target_repeats=2)))
    targets = make_targets(counts)
    assigner = HungarianAssigner(giou_eps=1e-6, boxes=boxes)
    found = assigner.assign(assigner.compute(sets, targets), sets, targets)
    assert len(found) == len(sets)
    for each, assigned in zip(sets, found, strict=True):
        compared = each.boxes if boxes == "predicted" else each.start_boxes
        for image, one in enumerate(assigned):
            labels, gt_boxes = targets.labels[image], targets.boxes[image]
            costs = plain_costs(each.logits[image], compared[image], labels, gt_boxes, 1e-6)
            queries, objects = linear_sum_assignment(costs.repeat(1, each.group.target_repeats))
            assert one.queries.tolist() == queries.tolist()
            assert one.objects.tolist() == (objects % max(counts[image], 1)).tolist()


def plain_costs(logits: Tensor, boxes: Tensor, labels: Tensor, gt_boxes: Tensor, eps: float) -> Tensor:
    """The costs (Q, T) of one image as the released code writes them."""
    p = logits[:, labels].sigmoid()
    positive, negative = -(p + 1e-8).log() * 0.25 * (1 - p) ** 2, -(1 - p + 1e-8).log() * 0.75 * p**2
    iou = generalized_iou(cxcywh_to_xyxy(boxes)[:, None], cxcywh_to_xyxy(gt_boxes)[None], eps)
    return 2 * (positive - negative) + 5 * torch.cdist(boxes, gt_boxes, p=1) - 2 * iou


@pytest.mark.parametrize("objects", [1, 4, 9])
def test_costs_are_those_of_the_plain_path_bit_for_bit(objects: int) -> None:
    """Fewer objects than classes, and more; boxes that overlap, touch and have no area."""
    predicted, targets = make_predictions(2, 50), make_targets([objects])
    labels, gt_boxes = targets.labels[0], targets.boxes[0]
    boxes = predicted.boxes.clone()
    boxes[:, 0, 2:], boxes[:, 1] = 0, gt_boxes[0]
    for image in range(2):
        plain = generalized_iou(cxcywh_to_xyxy(boxes[image])[:, None], cxcywh_to_xyxy(gt_boxes)[None], 1e-6)
        assert torch.equal(giou_cost(boxes, gt_boxes, 1e-6)[image].T, -plain)
        assert torch.equal(l1_cost(boxes, gt_boxes)[image].T, torch.cdist(boxes[image], gt_boxes, p=1))
    found = HungarianAssigner(giou_eps=1e-6).cost(list(predicted.logits), boxes, labels, gt_boxes)
    assert found.shape == (2, objects, 50)
    for image in range(2):
        wanted = plain_costs(predicted.logits[image], boxes[image], labels, gt_boxes, 1e-6)
        torch.testing.assert_close(found[image].T, wanted, atol=2e-6, rtol=1e-6)


def test_costs_of_many_sets_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, targets, assigner = (
        [make_predictions(2, 30, seed=seed) for seed in range(5)],
        make_targets([3, 4]),
        HungarianAssigner(),
    )
    (whole,) = assigner.compute(sets, targets)
    monkeypatch.setattr(hungarian, "PAIRS_AT_ONCE", {"cpu": 200})
    (parts,) = assigner.compute(sets, targets)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)
    assert whole.shape == (5 * 30 * 7,)
