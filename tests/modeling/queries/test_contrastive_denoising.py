from dataclasses import replace

import pytest
import torch

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.modeling.queries import ContrastiveDenoising, GroupsPerImage, GroupsPerProcess
from querydet.modeling.queries.noised_objects import NoiseDraws
from querydet.structures import Blocks, InitialQueries
from tests.models import make_targets


def make(**arguments: object) -> ContrastiveDenoising:
    torch.manual_seed(0)
    return ContrastiveDenoising(**{"num_classes": 5, "embed_dim": 8, **arguments})  # type: ignore[arg-type]


def pairs_of(extra: InitialQueries) -> list[list[tuple[int, int]]]:
    assert extra.group.known is not None
    return [list(zip(each.queries.tolist(), each.objects.tolist(), strict=True)) for each in extra.group.known]


def test_slots_known_pairs_and_weights_by_hand() -> None:
    """Counts (3, 1) and four positive queries: one group of the three, and four of the one; then padding."""
    (extra,) = make(groups=GroupsPerImage(num_queries=4))(make_targets([3, 1]))
    assert len(extra.group) == 8
    assert extra.group.blocks == (Blocks(1, 6), Blocks(4, 2))
    assert pairs_of(extra) == [[(0, 0), (1, 1), (2, 2)], [(0, 0), (2, 0), (4, 0), (6, 0)]]
    assert [each.weights.tolist() for each in extra.group.known] == [[1] * 6 + [0] * 2, [0.25] * 8]
    assert torch.equal(extra.content[0, 6:], torch.zeros(2, 8))
    assert torch.equal(extra.boxes[0, 6:], torch.full((2, 4), 0.5))


def test_slots_known_pairs_and_weights_of_the_released_rule_by_hand() -> None:
    """Counts (2, 1): slot of object j in repetition r is 2 r + j; unfilled slots are background."""
    (extra,) = make(groups=GroupsPerProcess(num_queries=4))(make_targets([2, 1]))
    assert len(extra.group) == 8
    assert extra.group.blocks == (Blocks(2, 4),) * 2
    assert pairs_of(extra) == [[(0, 0), (1, 1), (4, 0), (5, 1)], [(0, 0), (4, 0)]]
    assert [each.weights.tolist() for each in extra.group.known] == [[0.5] * 8] * 2
    assert torch.equal(extra.content[1, 1::2], torch.zeros(4, 8))
    assert torch.equal(extra.boxes[1, 1::2], torch.full((4, 4), 0.5))


def test_noise_moves_positives_by_less_than_half_a_side_and_negatives_by_more() -> None:
    denoising = make(label_noise=0.0)
    box = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    targets = replace(make_targets([1]), boxes=(box,))
    (draws,) = denoising.draw(targets, GroupsPerImage(num_queries=200).share([1], 2))
    draws = NoiseDraws(*(getattr(draws, name).flatten(0, 1) for name in ("replace", "labels", "signs", "magnitudes")))
    moved = denoising.noise_boxes(box.expand(400, 4), draws, torch.arange(400) % 2 == 1)
    shift = (cxcywh_to_xyxy(moved) - cxcywh_to_xyxy(box)).abs()
    assert shift[::2].max() < 0.1
    assert shift[1::2].min() >= 0.1 - 1e-6
    assert shift[1::2].max() < 0.2


def test_half_the_stated_ratio_of_labels_is_replaced() -> None:
    groups = GroupsPerImage(num_queries=3000)
    denoising = make(num_classes=1000, embed_dim=4, groups=groups, label_noise=0.5)
    targets = make_targets([1], num_classes=1000)
    draws = denoising.draw(targets, groups.share([1], 2))
    replaced = (draws[0].replace < 0.25).float().mean().item()
    assert replaced == pytest.approx(0.25, abs=0.02)
    (extra,) = denoising(targets, draws)
    same = (extra.content[0] == denoising.label_embed.weight[targets.labels[0]]).all(-1).float().mean().item()
    assert same == pytest.approx(1 - replaced, abs=1e-3)


def test_noise_of_an_image_does_not_depend_on_its_neighbours() -> None:
    denoising = make(groups=GroupsPerImage(num_queries=9))
    (together,) = denoising(make_targets([3, 2]))
    targets = make_targets([3, 2])
    (alone,) = denoising(
        replace(targets, labels=targets.labels[1:], boxes=targets.boxes[1:], names=("b",), seeds=targets.seeds[1:])
    )
    rows = len(alone.group)
    assert torch.equal(together.boxes[1, :rows], alone.boxes[0])
    assert torch.equal(together.content[1, :rows], alone.content[0])


def test_same_seed_same_noise_other_seed_other_noise() -> None:
    denoising, targets = make(), make_targets([3])
    assert torch.equal(denoising(targets)[0].boxes, denoising(targets)[0].boxes)
    assert not torch.equal(denoising(targets)[0].boxes, denoising(replace(targets, seeds=(77,)))[0].boxes)


def test_without_objects_the_group_is_empty_and_the_table_keeps_its_gradient() -> None:
    denoising = make()
    (extra,) = denoising(make_targets([0, 0]))
    assert extra.content.shape == (2, 0, 8)
    extra.content.sum().backward()
    assert torch.equal(denoising.label_embed.weight.grad, torch.zeros(6, 8))


def test_targets_are_not_changed() -> None:
    targets = make_targets([3, 1])
    before = [box.clone() for box in targets.boxes]
    make()(targets)
    assert all(map(torch.equal, before, targets.boxes))


def test_bad_numbers() -> None:
    with pytest.raises(ValueError, match="too few for 5 classes"):
        make(num_embeddings=4)
    with pytest.raises(ValueError, match=r"box_noise not negative; found 0\.5, -1"):
        make(box_noise=-1)


def test_given_draws_decide() -> None:
    denoising = make(groups=GroupsPerImage(num_queries=1))
    targets = replace(make_targets([1]), boxes=(torch.tensor([[0.5, 0.5, 0.2, 0.4]]),), labels=(torch.tensor([2]),))
    draws = NoiseDraws(
        replace=torch.tensor([[0.1], [0.9]]),
        labels=torch.tensor([[4], [4]]),
        signs=torch.ones(2, 1, 4),
        magnitudes=torch.full((2, 1, 4), 0.5),
    )
    (extra,) = denoising(targets, [draws])
    assert torch.equal(extra.content[0], denoising.label_embed.weight[[4, 2]])
    # positive: both corners move by 0.5 * half side; negative: by 1.5 * half side
    torch.testing.assert_close(extra.boxes[0], torch.tensor([[0.55, 0.6, 0.2, 0.4], [0.65, 0.8, 0.2, 0.4]]))
