"""Denoising as DN-DETR does it: noise, slots, visibility, the indicator."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from querydet.modeling.decoder.group_attention import blocked_pairs
from querydet.modeling.queries import Denoising, FixedGroups, GroupsPerProcess
from querydet.modeling.queries.noised_objects import NoiseDraws
from querydet.structures import Blocks, InitialQueries, QueryGroup, Targets
from tests.models import make_targets
from tests.parity.draws import split_draws


def make(**arguments: object) -> Denoising:
    torch.manual_seed(0)
    return Denoising(**{"num_classes": 5, "embed_dim": 8, **arguments})  # type: ignore[arg-type]


def targets_of(objects: list[list[tuple[int, list[float]]]]) -> Targets:
    """Targets of images with the given (label, box) pairs."""
    return replace(
        make_targets([len(image) for image in objects]),
        labels=tuple(torch.tensor([label for label, _ in image], dtype=torch.int64) for image in objects),
        boxes=tuple(torch.tensor([box for _, box in image]).view(-1, 4) for image in objects),
    )


def no_noise(*shape: int) -> NoiseDraws:
    return NoiseDraws(
        torch.ones(shape), torch.zeros(shape, dtype=torch.int64), torch.ones(*shape, 4), torch.zeros(*shape, 4)
    )


def draws_in_published_order(repetitions: int, objects: int, num_classes: int, probability: float) -> NoiseDraws:
    """The default generator's numbers, used as the released code uses them: flat, and new labels only where needed."""
    flat = repetitions * objects
    chosen = torch.rand(flat)
    where = (chosen < probability).nonzero().view(-1)
    labels = torch.zeros(flat, dtype=torch.int64)
    labels[where] = torch.randint(0, num_classes, (len(where),))
    shift = (torch.rand(flat, 4) * 2 - 1).view(repetitions, objects, 4)
    return NoiseDraws(chosen.view(repetitions, objects), labels.view(repetitions, objects), shift.sign(), shift.abs())


@pytest.fixture
def published() -> tuple[Targets, NoiseDraws]:
    """Two images with two objects and one, whose noise the released code was asked for."""
    targets = targets_of([[(17, [0.5, 0.5, 0.4, 0.2]), (3, [0.2, 0.3, 0.1, 0.1])], [(44, [0.7, 0.6, 0.2, 0.5])]])
    torch.manual_seed(0)
    return targets, draws_in_published_order(5, 3, 91, 0.2)


def test_noise_of_the_released_code(published: tuple[Targets, NoiseDraws]) -> None:
    targets, draws = published
    denoising = make(num_classes=91, embed_dim=256)
    replaced = (draws.replace < denoising.label_noise).flatten().nonzero().view(-1)
    assert replaced.tolist() == [2, 3, 12, 13]
    assert draws.labels.flatten()[replaced].tolist() == [39, 18, 79, 25]
    wanted = torch.tensor(
        [
            [0.465163, 0.514529, 0.532862, 0.183536],
            [0.214966, 0.296776, 0.104233, 0.136219],
            [0.662893, 0.537046, 0.179747, 0.422040],
        ]
    )
    first = replace(draws, signs=draws.signs[0], magnitudes=draws.magnitudes[0])
    torch.testing.assert_close(denoising.noise_boxes(torch.cat(targets.boxes), first), wanted, atol=1e-6, rtol=0)
    (extra,) = denoising(targets, of_images(targets, draws))
    torch.testing.assert_close(extra.boxes[0, :2], wanted[:2], atol=1e-5, rtol=0)
    assert torch.equal(extra.content[1, 0, :255], denoising.label_embed.weight[39])
    assert torch.equal(extra.content[0, 0, :255], denoising.label_embed.weight[17])


def of_images(targets: Targets, draws: NoiseDraws) -> list[NoiseDraws]:
    return split_draws(targets, draws.replace, draws.labels, draws.signs, draws.magnitudes)


def released(targets: Targets, draws: NoiseDraws) -> InitialQueries:
    (extra,) = make(num_classes=91, groups=GroupsPerProcess(num_groups=5))(targets, of_images(targets, draws))
    return extra


def test_slots_of_the_released_code(published: tuple[Targets, NoiseDraws]) -> None:
    extra = released(*published)
    known = extra.group.known
    assert known is not None
    assert len(extra.group) == 10
    assert extra.group.blocks == (Blocks(5, 2),) * 2
    assert known[0].queries.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert known[0].objects.tolist() == [0, 1] * 5
    assert known[1].queries.tolist() == [0, 2, 4, 6, 8]
    assert known[1].objects.tolist() == [0] * 5
    weights = [0.2 if slot % 2 == 0 else 0 for slot in range(10)]
    for each, wanted in zip(known, ([0.2] * 10, weights), strict=True):
        torch.testing.assert_close(each.weights, torch.tensor(wanted))


def mask_of(group: QueryGroup, primary: int = 300) -> Tensor | None:
    return blocked_pairs((group, QueryGroup("primary", len(group), len(group) + primary)), torch.device("cpu"))


def test_mask_of_the_released_code(published: tuple[Targets, NoiseDraws]) -> None:
    blocked = mask_of(released(*published).group)
    assert blocked is not None
    assert blocked.shape == (310, 310)
    assert blocked.sum() == 300 * 10 + 10 * 8


@pytest.mark.parametrize("groups", [1, 3])
def test_every_query_sees_its_group_and_the_matching_queries(groups: int) -> None:
    (extra,) = make(groups=FixedGroups(num_groups=groups))(make_targets([4, 2]))
    blocked = mask_of(extra.group)
    assert blocked is not None
    for of_image, objects in zip(blocked, (4, 2), strict=True):
        assert ((~of_image[: objects * groups]).sum(1) == objects + 300).all()
        assert of_image[: objects * groups, objects * groups : 4 * groups].all()  # padding is not seen
        assert ((~of_image[4 * groups :]).sum(1) == 300).all()


def test_without_objects_nothing_is_hidden_and_the_table_keeps_its_gradient() -> None:
    denoising = make()
    (extra,) = denoising(make_targets([0, 0]))
    assert extra.content.shape == (2, 0, 8)
    assert mask_of(extra.group) is None
    extra.content.sum().backward()
    assert torch.equal(denoising.label_embed.weight.grad, torch.zeros(6, 7))


def test_without_noise_the_queries_are_the_objects() -> None:
    denoising, targets = make(groups=FixedGroups(num_groups=2)), make_targets([3, 1])
    (extra,) = denoising(targets, [no_noise(2, 3), no_noise(2, 1)])
    for group in range(2):
        rows = slice(3 * group, 3 * group + 3)
        torch.testing.assert_close(extra.boxes[0, rows], targets.boxes[0], atol=1e-6, rtol=0)
        assert torch.equal(extra.content[0, rows, :7], denoising.label_embed.weight[targets.labels[0]])
    assert torch.equal(extra.content[1, 2:], torch.zeros(4, 8))  # padding
    assert torch.equal(extra.boxes[1, 2:], torch.full((4, 4), 0.5))


def test_the_indicator_is_one_for_queries_of_objects() -> None:
    (extra,) = make(groups=FixedGroups(num_groups=2))(make_targets([2, 1]))
    assert extra.content[..., -1].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    denoising = make(groups=FixedGroups(num_groups=2), indicator=False)
    (plain,) = denoising(make_targets([2, 1]))
    assert denoising.label_embed.weight.shape == (6, 8)
    assert plain.content.shape == extra.content.shape


def test_the_centre_stays_in_its_box_and_sides_change_by_less_than_the_noise() -> None:
    denoising = make()
    box = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    (draws,) = denoising.draw(make_targets([1]), FixedGroups(num_groups=500).share([1], 1))
    draws = replace(draws, signs=draws.signs[:, 0], magnitudes=draws.magnitudes[:, 0])
    moved = denoising.noise_boxes(box.expand(500, 4), draws) - box
    limit = torch.tensor([0.4 * 0.1, 0.4 * 0.2, 0.4 * 0.2, 0.4 * 0.4])
    assert (moved.abs() < limit).all()
    assert (moved.abs().max(0).values > 0.95 * limit).all()
    torch.testing.assert_close(moved.mean(0) / limit, torch.zeros(4), atol=0.1, rtol=0)


def test_boxes_are_clipped_as_centre_and_size() -> None:
    draws = replace(no_noise(1), magnitudes=torch.ones(1, 4))
    found = make().noise_boxes(torch.tensor([[0.9, 0.1, 0.9, 0.2]]), draws)
    torch.testing.assert_close(found[0], torch.tensor([1.0, 0.14, 1.0, 0.28]))


def test_the_stated_ratio_of_labels_is_replaced() -> None:
    denoising = make(num_classes=1000, embed_dim=4, groups=FixedGroups(num_groups=6000))
    targets = make_targets([1], num_classes=1000)
    (extra,) = denoising(targets)
    same = (extra.content[0, :, :3] == denoising.label_embed.weight[targets.labels[0]]).all(-1).float().mean().item()
    assert same == pytest.approx(0.8, abs=0.02)


def test_noise_of_an_image_does_not_depend_on_its_neighbours() -> None:
    denoising, targets = make(), make_targets([3, 2])
    (together,) = denoising(targets)
    (alone,) = denoising(
        replace(targets, labels=targets.labels[1:], boxes=targets.boxes[1:], names=("b",), seeds=targets.seeds[1:])
    )
    rows = len(alone.group)
    assert torch.equal(together.boxes[1, :rows], alone.boxes[0])
    assert torch.equal(together.content[1, :rows], alone.content[0])


def test_targets_are_not_changed() -> None:
    targets = make_targets([3, 1])
    before = [box.clone() for box in targets.boxes]
    make()(targets)
    assert all(map(torch.equal, before, targets.boxes))


def test_bad_numbers() -> None:
    with pytest.raises(ValueError, match="too few for 5 classes"):
        make(num_embeddings=4)
    with pytest.raises(ValueError, match=r"found 1\.5, 0\.4"):
        make(label_noise=1.5)
