"""The federated loss: the recorded draws and losses of the released code, and what it must not depend on."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from querydet.engine.accumulation import count_objects, split_batch
from querydet.modeling.federated import (
    FederatedFocalLoss,
    class_weights,
    draw_scores,
    keep_classes,
    take_classes,
)
from querydet.modeling.joining import join
from querydet.modeling.layers.sigmoid_focal import focal_loss_of_queries
from querydet.modeling.losses import FocalLoss
from querydet.structures import Assignment, JoinedPredictions, MatchedPairs
from tests.device import Synchronisations, move
from tests.lvis_vectors import lvis_vectors
from tests.models import make_inputs, make_predictions, make_targets, tiny_detector

COUNTS = [100, 1, 25, 400, 9, 16, 4, 64]
WEIGHTS = class_weights(COUNTS, 0.5)
ORDERS = [[0, 3, 7, 1, 2, 4, 5, 6], [7, 0, 4, 3, 6, 2, 5, 1]]


def kept(scores: Tensor, labels: list[int], count: int) -> list[int]:
    """The kept classes of one image: those that are present in order, then the others by falling score."""
    present = torch.zeros(1, len(scores), dtype=torch.bool)
    present[0, labels] = True
    columns, keep = keep_classes(scores[None], present, count, max(count, len(labels)))
    chosen = columns[0, keep[0]].tolist()
    return sorted(set(labels)) + [index for index in chosen if index not in labels]


def test_weights_are_powers_of_counts() -> None:
    assert WEIGHTS.tolist() == [10, 1, 5, 20, 3, 4, 2, 8]
    assert class_weights([0, 3], 0.0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "count", "expected"),
    [([3, 5, 3], 5, [3, 5, 7, 6, 2]), ([], 4, [7, 6, 2, 3]), ([3, 5], 2, [3, 5]), ([3, 5], 1, [3, 5])],
)
def test_draws_are_those_of_the_released_code(labels: list[int], count: int, expected: list[int]) -> None:
    """That draws by `torch.multinomial`, which divides by exponential numbers."""
    scores = WEIGHTS / torch.empty(8).exponential_(generator=torch.Generator().manual_seed(0))
    assert kept(scores, labels, count) == expected


def test_probabilities_are_those_of_draws_one_after_the_other() -> None:
    """The recorded parts of 20,000 draws of the released code, of three further classes beside two."""
    scores = torch.stack([draw_scores(WEIGHTS, seed) for seed in range(20000)])
    present = torch.zeros(20000, 8, dtype=torch.bool)
    present[:, [3, 5]] = True
    columns, keep = keep_classes(scores, present, 5, 5)
    assert keep.all()
    found = torch.bincount(columns.flatten(), minlength=8) / 20000
    recorded = torch.tensor([0.830, 0.146, 0.591, 1, 0.398, 1, 0.275, 0.761])
    torch.testing.assert_close(found, recorded, atol=0.015, rtol=0)


def test_focal_sums_over_all_and_over_kept_classes() -> None:
    """Recorded: the sums over three objects, with the logits -2.4, -2.3, ..."""
    logits = torch.arange(48.0).view(2, 3, 8) / 10 - 2.4
    labels = torch.full((2, 3), 8)
    labels[0, 1], labels[0, 2], labels[1, 0] = 3, 5, 3
    columns = torch.tensor([[3, 5, 0, 2, 7]])
    chosen, places = take_classes(logits, labels, columns, torch.ones(1, 5, dtype=torch.bool))
    assert places.tolist() == [[5, 0, 1], [0, 5, 5]]
    for values, wanted, total in ((logits, labels, 5.708863), (chosen, places, 3.546319)):
        loss = focal_loss_of_queries(values.flatten(0, 1), wanted.flatten()).sum() / 3
        assert loss.item() == pytest.approx(total, abs=1e-5)


def test_losses_of_draws_are_those_of_the_released_code() -> None:
    recorded = lvis_vectors()["federated"]
    logits, target = torch.tensor(recorded["logits"]), torch.tensor(recorded["target"])
    for draw, loss in zip(recorded["draws"], recorded["losses"], strict=True):
        columns = torch.tensor([draw])
        chosen, places = take_classes(logits, target, columns, torch.ones_like(columns, dtype=torch.bool))
        found = focal_loss_of_queries(chosen.flatten(0, 1), places.flatten()).sum() / recorded["num_boxes"]
        assert found.item() == pytest.approx(loss, rel=1e-5)
    whole = focal_loss_of_queries(logits.flatten(0, 1), target.flatten()).sum() / recorded["num_boxes"]
    assert whole.item() == pytest.approx(recorded["loss_all_classes"], rel=1e-5)


def test_scores_are_the_same_on_every_machine() -> None:
    """A resumed run must draw the same classes: the order may never change."""
    order = [draw_scores(WEIGHTS, seed).argsort(descending=True).tolist() for seed in (0, 2**62 - 1)]
    assert order == ORDERS


def predictions_of(
    classes: int, labels: list[list[int]], seeds: list[int | None], queries: int = 6
) -> tuple[JoinedPredictions, MatchedPairs]:
    """Predictions of some images, whose objects belong to the first queries."""
    predicted = make_predictions(len(labels), queries, classes)
    targets = replace(
        make_targets([len(image) for image in labels]),
        labels=tuple(torch.tensor(image, dtype=torch.int64) for image in labels),
        seeds=tuple(seeds),
    )
    rows = [torch.arange(len(image)) for image in labels]
    return join([predicted], [tuple(Assignment(row, row) for row in rows)], targets)


def of_image(
    predictions: JoinedPredictions, matched: MatchedPairs, image: int
) -> tuple[JoinedPredictions, MatchedPairs]:
    """The same for one image alone."""
    rows = matched.image == image
    assert matched.targets is not None
    targets = replace(
        matched.targets,
        labels=matched.targets.labels[image : image + 1],
        boxes=matched.targets.boxes[image : image + 1],
        seeds=matched.targets.seeds[image : image + 1],
    )
    alone = replace(
        matched,
        image=matched.image[rows] - image,
        query=matched.query[rows],
        object=matched.object[rows],
        labels=matched.labels[rows],
        boxes=matched.boxes[rows],
        targets=targets,
    )
    part = slice(image, image + 1)
    return JoinedPredictions(predictions.logits[part], predictions.boxes[part], predictions.sizes), alone


def test_as_many_kept_classes_as_there_are_is_the_focal_loss_bit_for_bit() -> None:
    predictions, matched = predictions_of(8, [[3, 5, 3], []], [1, 2])
    for count in (8, 9, 50):
        loss = FederatedFocalLoss(weight=2.0, counts=COUNTS, num_kept=count)(predictions, matched)
        assert torch.equal(loss, FocalLoss(weight=2.0)(predictions, matched))


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_loss_and_gradient_are_those_of_the_kept_classes(scope: str) -> None:
    predictions, matched = predictions_of(8, [[3, 5, 3], [], [0, 1, 2, 4]], [1, 2, 3])
    logits = predictions.logits.requires_grad_()
    term = FederatedFocalLoss(weight=1.0, counts=COUNTS, num_kept=3, scope=scope)
    loss = term(predictions, matched)
    loss.sum().backward()
    assert logits.grad is not None
    columns = (logits.grad != 0).any(1)  # (B, K)
    assert torch.equal(columns, (logits.grad != 0).all(1))
    assert columns.sum(1).tolist() == ([3, 3, 4] if scope == "image" else [6, 6, 6])
    present = [{3, 5}, set(), {0, 1, 2, 4}] if scope == "image" else [{0, 1, 2, 3, 4, 5}] * 3
    for image, classes in enumerate(present):
        kept_here = columns[image].nonzero()[:, 0]
        assert classes <= set(kept_here.tolist())
        own = dict(zip([0, 1, 2, 3], [[3, 5, 3], [], [0, 1, 2, 4]][image], strict=False))
        for query in range(6):
            label = torch.tensor([kept_here.tolist().index(own[query]) if query in own else len(kept_here)])
            expected = focal_loss_of_queries(logits[image, query, kept_here][None], label)
            torch.testing.assert_close(loss[image, query], expected[0])


def test_an_image_keeps_the_same_classes_in_every_batch() -> None:
    """Two processes of an image each compute what one process of two images does."""
    predictions, matched = predictions_of(8, [[3, 5, 3], [1]], [1, 2])
    term = FederatedFocalLoss(weight=1.0, counts=COUNTS, num_kept=3)
    whole = term(predictions, matched)
    for image in range(2):
        torch.testing.assert_close(whole[image], term(*of_image(predictions, matched, image))[0])


def test_draws_depend_on_the_seeds_alone() -> None:
    predictions, matched = predictions_of(30, [[3], [3]], [1, 2])
    term = FederatedFocalLoss(weight=1.0, counts=[5] * 30, num_kept=4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = term(predictions, matched)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(first, term(predictions, matched))
    _, other = predictions_of(30, [[3], [3]], [1, 3])
    changed = term(predictions, other)
    assert torch.equal(first[0], changed[0])
    assert not torch.equal(first[1], changed[1])


def test_without_seeds_the_default_generator_draws() -> None:
    predictions, matched = predictions_of(30, [[3]], [None])
    term = FederatedFocalLoss(weight=1.0, counts=[5] * 30, num_kept=4)
    torch.manual_seed(0)
    first, second = term(predictions, matched), term(predictions, matched)
    torch.manual_seed(0)
    assert torch.equal(first, term(predictions, matched))
    assert not torch.equal(first, second)


def test_class_agnostic_objects_are_of_class_0_beside_drawn_ones() -> None:
    predictions, matched = predictions_of(8, [[0, 0]], [4])
    logits = predictions.logits.requires_grad_()
    FederatedFocalLoss(weight=1.0, counts=COUNTS, num_kept=3)(predictions, matched).sum().backward()
    assert logits.grad is not None
    columns = (logits.grad != 0).any(1)[0]
    assert columns.sum() == 3
    assert columns[0]


def test_classes_without_images_are_not_drawn() -> None:
    predictions, matched = predictions_of(8, [[0]], [4])
    logits = predictions.logits.requires_grad_()
    FederatedFocalLoss(weight=1.0, counts=[0, 0, 3, 3, 0, 0, 0, 0], num_kept=6)(predictions, matched).sum().backward()
    assert logits.grad is not None
    assert (logits.grad != 0).any(1)[0].nonzero()[:, 0].tolist() == [0, 2, 3]


def test_a_training_step_waits_for_the_device_once() -> None:
    detector = tiny_detector("dino").train()
    for rule in detector.criterion.rules.values():
        rule.losses["class"] = FederatedFocalLoss(weight=1.0, counts=[1, 2, 3, 4, 5], num_kept=2)
    inputs = make_inputs([(64, 96), (96, 64), (64, 64)], [2, 5, 0])
    for index, image in enumerate(inputs):
        image["seed"] = index
    wanted = detector(inputs)
    with Synchronisations() as waiting:
        losses = move(detector)(inputs)
        sum(losses.values()).backward()
    assert waiting.kinds == {"copy to host": 1}, waiting.found
    for name, loss in losses.items():
        torch.testing.assert_close(loss.inner, wanted[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["deta", "dino"])
def test_micro_batches_have_the_gradients_of_the_whole_batch(name: str) -> None:
    """Each image draws for itself, so that also processes that share a batch compute what one does."""
    detector = tiny_detector(name).double().train()
    for rule in detector.criterion.rules.values():
        rule.losses["class"] = FederatedFocalLoss(weight=1.0, counts=[1, 2, 3, 4, 5], num_kept=2)
    batch = make_inputs([(64, 64)] * 4, [3, 0, 1, 2])
    found = []
    for parts in (1, 2):
        detector.zero_grad()
        count = count_objects(batch, parts)
        for part in split_batch(batch, parts):
            (sum(detector(part, count).values()) / parts).backward()
        found.append({key: value.grad.clone() for key, value in detector.named_parameters() if value.grad is not None})
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-6, atol=1e-9, msg=key)


def test_counts_come_from_the_run_or_from_the_config() -> None:
    predictions, matched = predictions_of(8, [[3]], [1])
    term = FederatedFocalLoss(weight=1.0, num_kept=3)
    with pytest.raises(ValueError, match="needs the number of training images of each class"):
        term(predictions, matched)
    term.use_counts(COUNTS)
    own = FederatedFocalLoss(weight=1.0, counts=COUNTS, num_kept=3)
    own.use_counts([1] * 8)
    assert torch.equal(term(predictions, matched), own(predictions, matched))
    with pytest.raises(ValueError, match="numbers of images of 8 classes, but the model has 9"):
        own(*predictions_of(9, [[3]], [1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_kept": 0}, "num_kept has to be at least 1"),
        ({"power": -1.0}, "power at least 0"),
        ({"scope": "step"}, "scope has to be one of .*image.*batch.*'step'"),
        ({"counts": [1, -1]}, "at least 0 and not all 0"),
        ({"counts": [0, 0]}, "not all 0"),
        ({"counts": [1, float("nan")]}, "at least 0"),
        ({"counts": []}, "numbers of images of each class"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FederatedFocalLoss(weight=1.0, **options)
