"""Denoising queries for every group of matching queries: whose they are, and noise that the image decides."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import instantiate

from querydet.modeling.queries import Denoising, GroupedDenoising
from querydet.modeling.queries.grouped_denoising import group_seeds
from querydet.modeling.selection.grouped import group_name
from querydet.structures import Role
from querydet.traits import trait
from tests.modeling.selection.groups import SIZES, losses_of, predictions_of
from tests.models import make_inputs, make_targets, tiny_config, tiny_detector


def test_every_group_has_noise_of_its_own_that_the_image_decides() -> None:
    denoising = tiny_detector("group_dino").denoising
    assert isinstance(denoising, GroupedDenoising)
    targets = make_targets([3, 2])
    first, again = denoising(targets), denoising(targets)
    assert all(torch.equal(one.boxes, two.boxes) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0].boxes, first[1].boxes)
    assert not torch.equal(first[1].boxes, first[2].boxes)
    (plain,) = denoising.members[0](targets)
    assert torch.equal(first[0].boxes, plain.boxes)
    swapped = denoising(replace(targets, **{key: getattr(targets, key)[::-1] for key in ("labels", "boxes", "seeds")}))
    for one, two in zip(first, swapped, strict=True):
        assert torch.equal(one.boxes, two.boxes.flip(0))
    unseeded = denoising(replace(targets, seeds=(None, None)))
    assert not torch.equal(unseeded[0].boxes, unseeded[1].boxes)
    assert [each.group.visible_groups for each in first] == [(group_name(number),) for number in range(3)]
    assert {each.group.loss_divisor for each in first} == {3 * plain.group.loss_divisor}
    assert len({each.group.name for each in first}) == 3


def test_seeds_of_groups() -> None:
    assert group_seeds([5, None], 0) == (5, None)
    found = {group_seeds([seed], number)[0] for seed in (-1, 0, 1, 2**63) for number in range(11)}
    assert len(found) == 44
    assert group_seeds([7], 4) == group_seeds([7], 4)


def test_denoising_may_live_in_the_primary_group_alone() -> None:
    config = tiny_config("group_dino")
    config.denoising = tiny_config("dino").denoising
    detector = instantiate(config)
    predictions = predictions_of(detector)
    hosts = {each.group.visible_groups for each in predictions if each.group.role is Role.DENOISING}
    assert hosts == {("primary",)}
    assert sum(losses_of(detector, make_inputs(SIZES, [2, 0])).values()).isfinite()


def test_it_tells_what_the_denoising_of_a_group_is() -> None:
    torch.manual_seed(0)
    plain = Denoising(num_classes=5, embed_dim=8)
    grouped = GroupedDenoising(denoising=plain, num_groups=3)
    assert grouped.members[0] is plain
    assert (grouped.num_groups, grouped.num_classes) == (3, 5)
    for name in ("embed_dim", "indicator", "contrastive"):
        assert trait(grouped, name) == trait(plain, name)
    assert trait(tiny_detector("group_dino").denoising, "contrastive")


def test_label_tables_of_groups_are_drawn_for_each() -> None:
    torch.manual_seed(0)
    tables = [each.label_embed.weight for each in GroupedDenoising(denoising=Denoising(num_classes=90)).members]
    assert len(tables) == 11
    assert len({table.flatten()[0].item() for table in tables}) == 11
    for table in tables:
        assert table.std().item() == pytest.approx(1, rel=0.05)


def test_without_objects_all_groups_are_empty_and_keep_the_gradient_of_their_tables() -> None:
    grouped = GroupedDenoising(denoising=Denoising(num_classes=5, embed_dim=8), num_groups=3)
    groups = grouped(make_targets([0, 0]))
    assert [each.content.shape for each in groups] == [(2, 0, 8)] * 3
    sum(each.content.sum() for each in groups).backward()
    assert all(member.label_embed.weight.grad is not None for member in grouped.members)


def test_at_least_one_group() -> None:
    with pytest.raises(ValueError, match=r"num_groups must be at least 1.*found 0"):
        GroupedDenoising(denoising=Denoising(num_classes=5, embed_dim=8), num_groups=0)
