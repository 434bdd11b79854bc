"""Masks of assigned pairs: their order, their points, whole masks, and the memory that they take."""

import pytest
import torch

from querydet.modeling.masks import pairs as pairs_module
from querydet.modeling.masks.pairs import (
    compare_whole,
    image_by_image,
    pair_masks,
    sample_pairs,
    whole_objects,
)
from querydet.modeling.masks.points import PointSampling, sample_objects
from tests.modeling.masks.pairs import assign, collect, sets_of, targets_with
from tests.modeling.masks.scenes import HEADS, features, objects_of, padded, pixel_embedding, random_masks

SIZES = [(64, 128), (64, 64)]
CANVAS = (64, 128)
COUNTS = [3, 2]
# two sets; the second image of the first set has no pair, and a query and an object occur twice
PAIRS = [[([4, 1], [0, 2]), ([], [])], [([2], [1]), ([0, 0, 3], [1, 0, 1])]]
SAMPLING = PointSampling(20)


def scene(grad: bool = False, count: int = 2):
    masks = pixel_embedding()(features(SIZES))
    return sets_of(masks, 2, 5, count, grad), targets_with(random_masks(COUNTS, SIZES), CANVAS)


def test_pairs_are_those_of_each_image_in_turn() -> None:
    sets, targets = scene()
    found = collect(sets, PAIRS, targets)
    assert [index.tolist() for index in found.object] == [[0, 2, 1], [3 + 1, 3 + 0, 3 + 1]]
    assert torch.equal(found.hidden[0], torch.stack([sets[0].hidden[0, 4], sets[0].hidden[0, 1], sets[1].hidden[0, 2]]))
    assert torch.equal(found.hidden[1], sets[1].hidden[1, [0, 0, 3]])
    assert [[count for _, count in rows] for rows in found.sets] == [[2, 1], [0, 3]]
    values = found.restore([torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])])
    assert values.tolist() == [1, 2, 3, 4, 5, 6]
    turned = collect(sets[::-1], PAIRS[::-1], targets)
    assert turned.restore([torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])]).tolist() == [1, 4, 5, 6, 2, 3]


@pytest.mark.parametrize("counts", [[[2, 0, 1], [1, 3, 0]], [[0], [0]], [[5]], [[0, 0, 2]], [[1, 1], [1, 1], [0, 4]]])
def test_order_by_hand(counts: list[list[int]]) -> None:
    labels = [(s, i) for s, images in enumerate(counts) for i, count in enumerate(images) for _ in range(count)]
    wanted = sorted(range(len(labels)), key=lambda place: (labels[place][1], labels[place][0], place))
    assert image_by_image(counts).tolist() == wanted


@torch.no_grad()
def test_samples_are_the_masks_of_the_pairs_at_uncertain_and_random_points() -> None:
    sets, targets = scene()
    collected = collect(sets, PAIRS, targets)
    samples = sample_pairs(collected, SAMPLING)
    assert samples.logits.shape == samples.targets.shape == (6, 20)
    draws = targets.masks.draws
    extra = torch.cat([draws("extra", each.describe(), 0, rows, 5) for each, rows in zip(sets, (2, 1), strict=True)])
    masks, index = sets[0].masks, collected.object[0]
    random = torch.stack(
        [masks.at_points(0, hidden[None], points)[0] for hidden, points in zip(collected.hidden[0], extra, strict=True)]
    )
    torch.testing.assert_close(samples.logits[:3, 15:], random, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(samples.targets[:3, 15:], sample_objects(targets.masks, index, extra))
    assert samples.logits[:, :15].abs().mean() < samples.logits[:, 15:].abs().mean()


def test_terms_of_equal_sampling_share_their_points() -> None:
    sets, targets = scene()
    collected = collect(sets, PAIRS, targets)
    assert sample_pairs(collected, SAMPLING) is sample_pairs(collected, PointSampling(20))
    assert sample_pairs(collected, PointSampling(21)) is not sample_pairs(collected, SAMPLING)


@pytest.mark.parametrize("make", HEADS, ids=lambda make: make.__name__)
def test_blocks_of_pairs_compute_what_all_pairs_do(make, monkeypatch) -> None:
    found = []
    for block in (1, 2, 100):
        monkeypatch.setattr(pairs_module, "PAIRS_AT_ONCE", block)
        sets = sets_of(make()(features(SIZES)), 2, 5, 2, grad=True)
        collected = collect(sets, PAIRS, targets_with(random_masks(COUNTS, SIZES), CANVAS))
        samples = sample_pairs(collected, SAMPLING)
        whole = compare_whole(collected, lambda masks, objects: (masks * objects).mean((1, 2)), block)
        (samples.logits.square().mean() + whole.sum()).backward()
        found.append((samples.logits.detach(), whole.detach(), sets[0].hidden.grad, sets[1].hidden.grad))
    for other in found[1:]:
        for left, right in zip(found[0], other, strict=True):
            torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_whole_masks_of_objects_follow_the_padding() -> None:
    masks = random_masks(COUNTS, SIZES)
    objects = objects_of(masks, (70, 130))
    index = torch.tensor([4, 0, 0, 2])
    assert torch.equal(whole_objects(objects, index), padded(masks, (70, 130))[index].bool())
    assert whole_objects(objects, index[:0]).shape == (0, 70, 130)


@torch.no_grad()
def test_whole_masks_are_compared_in_the_padded_size_and_in_the_order_of_the_pairs() -> None:
    sets, targets = scene()
    collected = collect(sets[::-1], PAIRS[::-1], targets)
    found = compare_whole(collected, lambda masks, objects: objects.flatten(1).float().mean(1), 2)
    areas = padded(random_masks(COUNTS, SIZES), CANVAS).flatten(1).mean(1)
    torch.testing.assert_close(found, areas[[1, 4, 3, 4, 0, 2]])


def test_no_pairs_have_no_losses_and_gradients_of_zero() -> None:
    head = pixel_embedding()
    sets = sets_of(head(features(SIZES)), 2, 5, 2)
    empty = [[([], []), ([], [])]] * 2
    collected = collect(sets, empty, targets_with(random_masks([0, 0], SIZES), CANVAS))
    samples = sample_pairs(collected, SAMPLING)
    whole = compare_whole(collected, lambda masks, objects: (masks * objects).mean((1, 2)), 2)
    assert samples.logits.shape == (0, 20)
    assert whole.shape == (0,)
    (samples.logits.sum() + whole.sum()).backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in head.parameters())


def test_objects_without_masks() -> None:
    from dataclasses import replace

    sets, targets = scene()
    with pytest.raises(ValueError, match=r"the objects have none: set dataloader\.train\.dataset\.masks=True"):
        pair_masks(sets, assign(PAIRS), replace(targets, masks=None))


def test_activations_do_not_grow_with_the_pairs_but_for_their_points() -> None:
    """What the backward pass keeps is, for each pair, its hidden state and its points: not its mask."""
    kept = {}
    for count in (40, 80):
        sets = sets_of(pixel_embedding()(features([(256, 256)])), 1, count, 1, grad=True)
        targets = targets_with(random_masks([count], [(256, 256)]), (256, 256))
        rows = list(range(count))
        collected = collect(sets, [[(rows, rows)]], targets)
        saved: dict[int, int] = {}

        def keep(tensor: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            samples = sample_pairs(collected, SAMPLING)
        kept[count] = sum(saved.values())
        del samples
    mask = 64 * 64 * 4  # bytes of one predicted mask
    assert kept[80] - kept[40] < 40 * mask / 4


def test_the_head_makes_whole_masks_once_for_all_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, targets = scene(grad=True)
    collected, masks = collect(sets, PAIRS, targets), sets[0].masks
    made: list[int] = []
    of_image = masks.of_image
    monkeypatch.setattr(masks, "of_image", lambda image, hidden: made.append(len(hidden)) or of_image(image, hidden))
    terms = [compare_whole(collected, lambda masks, objects: (masks * objects).mean((1, 2)), 2) for _ in range(2)]
    assert made == [3, 3], "once for the pairs of each image"
    sum(term.sum() for term in terms).backward()
    assert sorted(made) == [3] * 4, "and once again in the backward pass"
