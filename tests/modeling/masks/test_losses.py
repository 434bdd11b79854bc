"""Losses of masks: the released functions' numbers, nested loops, borders of what they read."""

import pytest
import torch
import torch.nn.functional as F

from querydet.modeling.masks.losses import (
    DiceLoss,
    FocalMaskLoss,
    PointDiceLoss,
    PointMaskLoss,
    dice_loss,
    masks_of,
)
from querydet.modeling.masks.pairs import PointSamples
from querydet.structures import JoinedPredictions
from querydet.traits import trait
from tests.modeling.masks.pairs import Given, collect, matched_with, numbered, sets_of, targets_with
from tests.modeling.masks.scenes import features, pixel_embedding, random_masks

LOGITS = torch.tensor([[2, -1, 0.5, -3], [-0.5, 1.5, 0, 4]])
NOTHING = JoinedPredictions(torch.zeros(1, 0, 5), torch.zeros(1, 0, 4), ())
TERMS = (
    PointMaskLoss(weight=5.0, num_points=30),
    PointDiceLoss(weight=5.0, num_points=30),
    FocalMaskLoss(weight=1.0),
    DiceLoss(weight=1.0),
)


def given_pairs(logits: torch.Tensor, targets: torch.Tensor):
    """Pairs of masks (n, H, W) with objects (n, H, W), each mask with the object of its number."""
    from dataclasses import replace

    count, canvas = len(logits), tuple(targets.shape[1:])
    (one,) = sets_of(Given(logits, canvas), 1, count, 1)
    rows = list(range(count))
    objects = targets_with([targets.bool()], canvas)
    return matched_with(collect([replace(one, hidden=numbered(count))], [[(rows, rows)]], objects))


def test_numbers_of_the_released_losses_at_points() -> None:
    samples = PointSamples(LOGITS, torch.tensor([[1, 0, 1, 0], [0, 0.25, 1, 1]]))
    entropy, dice = PointMaskLoss(weight=5.0).compare(samples), PointDiceLoss(weight=5.0).compare(samples)
    assert entropy.sum().item() / 2 == pytest.approx(0.434330, abs=1e-6)
    assert dice.sum().item() / 2 == pytest.approx(0.215473, abs=1e-6)


def test_numbers_of_the_released_losses_of_whole_masks() -> None:
    matched = given_pairs(LOGITS.view(2, 2, 2), torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1]]).view(2, 2, 2))
    assert FocalMaskLoss(weight=1.0)(NOTHING, matched).sum().item() / 2 == pytest.approx(0.122672, abs=1e-6)
    assert DiceLoss(weight=1.0)(NOTHING, matched).sum().item() / 2 == pytest.approx(0.235232, abs=1e-6)


def test_whole_masks_are_compared_in_the_size_of_the_padded_image() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, 4, generator=generator)
    targets = torch.rand(5, 10, 14, generator=generator) > 0.5
    matched = given_pairs(logits, targets)
    whole = F.interpolate(logits[None], (10, 14), mode="bilinear", align_corners=False)[0]
    probability, wanted = whole.sigmoid(), targets.float()
    overlap = (probability * wanted).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + wanted.sum((1, 2)) + 1)
    torch.testing.assert_close(DiceLoss(weight=1.0)(NOTHING, matched), dice)
    entropy = F.binary_cross_entropy_with_logits(whole, wanted, reduction="none")
    right = probability * wanted + (1 - probability) * (1 - wanted)
    focal = ((0.25 * wanted + 0.75 * (1 - wanted)) * entropy * (1 - right) ** 2).mean((1, 2))
    torch.testing.assert_close(FocalMaskLoss(weight=1.0)(NOTHING, matched), focal)


def test_dice_of_perfect_empty_and_opposite_masks() -> None:
    ones, zeros = torch.ones(1, 9), torch.zeros(1, 9)
    assert dice_loss(ones, ones).item() == 0
    assert dice_loss(zeros, zeros).item() == 0
    assert dice_loss(zeros, ones).item() == pytest.approx(0.9)
    assert dice_loss(ones, zeros).item() == pytest.approx(0.9)


def scene(counts: list[int], masks: list[torch.Tensor] | None = None):
    sizes = [(64, 128), (64, 64)]
    (one,) = sets_of(pixel_embedding()(features(sizes)), 2, 6, 1, grad=True)
    targets = targets_with(masks or random_masks(counts, sizes), (64, 128))
    return one, targets, matched_with(collect([one], [[(range(n), range(n)) for n in counts]], targets))


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_an_object_without_pixels_pushes_the_mask_down(term) -> None:
    one, _, matched = scene([1, 0], [torch.zeros(1, 64, 128, dtype=torch.bool), torch.zeros(0, 64, 64).bool()])
    value = term(NOTHING, matched)
    assert value.isfinite().all()
    value.sum().backward()
    assert one.hidden.grad[0, 0].any()
    with torch.no_grad():
        before = one.masks.of_image(0, one.hidden[0, :1]).sigmoid().sum()
        after = one.masks.of_image(0, one.hidden[0, :1] - 1e-2 * one.hidden.grad[0, :1].sign()).sigmoid().sum()
    assert after < before


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_unassigned_queries_get_no_gradient_and_every_pair_a_loss(term) -> None:
    one, _, matched = scene([3, 2])
    value = term(NOTHING, matched)
    assert value.shape == (5,)
    assert (value > 0).all()
    value.sum().backward()
    assert one.hidden.grad.flatten(2).any(2).sum(1).tolist() == [3, 2]


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_permuted_objects_have_permuted_losses_of_whole_masks(term) -> None:
    sizes = [(64, 128), (64, 64)]
    masks = random_masks([3, 2], sizes)
    (one,) = sets_of(pixel_embedding()(features(sizes)), 2, 6, 1)
    order = [2, 0, 1]
    turned = [masks[0][order], masks[1]]
    plain = collect([one], [[([0, 1, 2], [0, 1, 2]), ([0, 1], [0, 1])]], targets_with(masks, (64, 128)))
    other = collect([one], [[([0, 1, 2], [1, 2, 0]), ([0, 1], [0, 1])]], targets_with(turned, (64, 128)))
    found = term(NOTHING, matched_with(plain)), term(NOTHING, matched_with(other))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_losses_read_masks_and_no_boxes(term) -> None:
    assert trait(term, "reads_masks")
    assert not trait(term, "reads_boxes")
    with pytest.raises(ValueError, match=r"set model\.masks, and dataloader\.train\.dataset\.masks=True"):
        term(NOTHING, matched_with(None))


def test_the_masks_of_pairs() -> None:
    _, _, matched = scene([1, 1])
    assert masks_of(matched) is matched.masks


def test_impossible_sampling() -> None:
    for term in (PointMaskLoss, PointDiceLoss):
        with pytest.raises(ValueError, match="num_points must be"):
            term(weight=1.0, num_points=0)
