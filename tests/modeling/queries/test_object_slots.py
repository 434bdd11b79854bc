"""Whose objects decide the number of denoising groups, what a crowd costs, and how much each object counts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from querydet.modeling.queries import (
    ContrastiveDenoising,
    Denoising,
    FixedGroups,
    GroupsPerImage,
    GroupsPerProcess,
)
from querydet.structures import InitialQueries, ObjectCount, Role, Targets
from tests.models import make_inputs, make_targets, tiny_detector

COUNTS = [3, 0, 11, 1]
COMPOSITIONS = ("dino", "dn_detr", "dn_dab_detr", "group_dino", "group_dn_detr", "group_dn_dab_detr", "ms_dino")
PARTS = {"contrastive": ContrastiveDenoising, "dynamic": Denoising, "fixed": Denoising}


def make(kind: str, max_objects: int | None = None, **more: Any) -> ContrastiveDenoising | Denoising:
    if kind == "fixed":
        groups: Any = FixedGroups() if max_objects is None else FixedGroups(max_objects=max_objects)
    else:
        groups = GroupsPerImage(num_queries=100, max_objects=max_objects)
    return PARTS[kind](num_classes=5, embed_dim=8, **{"groups": groups, **more})


@pytest.fixture(params=PARTS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def image_of(targets: Targets, image: int) -> Targets:
    fields = {key: getattr(targets, key)[image : image + 1] for key in ("labels", "boxes", "names", "seeds")}
    return replace(targets, **fields)


def positives(queries: InitialQueries) -> list[int]:
    assert queries.group.known is not None
    return [len(each.queries) for each in queries.group.known]


def test_an_image_has_the_same_queries_whatever_its_batch_mates_are(kind: str) -> None:
    denoising, targets = make(kind), make_targets(COUNTS)
    (together,) = denoising(targets)
    for image in range(len(COUNTS)):
        (alone,) = denoising(image_of(targets, image))
        rows = len(alone.group)
        assert torch.equal(together.content[image, :rows], alone.content[0])
        assert torch.equal(together.boxes[image, :rows], alone.boxes[0])
        assert together.group.blocks[image] == alone.group.blocks[0]
        mine, own = together.group.known[image], alone.group.known[0]
        assert torch.equal(mine.queries, own.queries)
        assert torch.equal(mine.objects, own.objects)
        assert torch.equal(mine.weights[:rows], own.weights)
        assert not mine.weights[rows:].any()


@pytest.mark.parametrize("count", [1, 7, 30, 93])
@pytest.mark.parametrize("kind", ["contrastive", "dynamic"])
def test_images_have_as_many_positive_queries_as_fit(kind: str, count: int) -> None:
    (made,) = make(kind)(make_targets([count, 99, 0]))
    assert positives(made) == [100 // count * count, 99, 0]


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_the_loss_of_a_batch_is_the_mean_of_its_images(name: str) -> None:
    """Each image alone in its micro-batch, with the object counts of the step, gives its share of every loss."""
    detector = tiny_detector(name).train()
    inputs = make_inputs([(96, 128)] * len(COUNTS), COUNTS)
    together = detector(inputs)
    step = ObjectCount(tuple(COUNTS), num_micro_batches=len(COUNTS))
    alone = [detector([each], step) for each in inputs]
    assert any("_dn" in key for key in together)
    for key, value in together.items():
        mean = torch.stack([losses[key] for losses in alone]).mean()
        torch.testing.assert_close(mean, value, rtol=2e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_padding_changes_nothing_and_has_no_gradient(name: str) -> None:
    detector = tiny_detector(name).train()
    inputs = make_inputs([(96, 128)] * 2, [4, 11])
    seen: list[Tensor] = []

    def spoil(module: object, inputs: object, made: tuple[InitialQueries, ...]) -> tuple[InitialQueries, ...]:
        changed = []
        for queries in made:
            padding = torch.ones(queries.content.shape[:2], dtype=torch.bool)
            for row, blocks in zip(padding, queries.group.blocks, strict=True):
                row[: blocks.count * blocks.size] = False
            assert padding.any()
            content = queries.content.detach().masked_fill(padding[..., None], 3.0).requires_grad_()
            boxes = queries.boxes.masked_fill(padding[..., None], 0.9)
            content.register_hook(lambda gradient, padding=padding: seen.append(gradient[padding]))
            changed.append(replace(queries, content=content, boxes=boxes))
        return tuple(changed)

    plain = detector(inputs)
    detector.denoising.register_forward_hook(spoil)
    changed = detector(inputs)
    for key, value in plain.items():
        torch.testing.assert_close(changed[key], value, rtol=1e-5, atol=1e-6, msg=key)
    sum(changed.values()).backward()
    assert seen
    assert not any(gradient.any() for gradient in seen)


@pytest.mark.parametrize("count", [101, 1000])
def test_a_crowd_has_no_more_queries_than_configured(kind: str, count: int) -> None:
    (made,) = make(kind)(make_targets([count, 2]))
    assert len(made.group) <= {"contrastive": 200, "dynamic": 100, "fixed": 500}[kind]
    assert positives(made)[0] == {"contrastive": 100, "dynamic": 100, "fixed": 500}[kind]
    asked = make(kind, max_objects=count)
    assert positives(asked(make_targets([count, 2]))[0])[0] >= count
    fewer = make(kind, max_objects=7)(make_targets([count, 2]))[0]
    assert len(fewer.group.known[0].objects.unique()) == 7


def test_the_objects_taken_from_a_crowd_are_random_and_seeded(kind: str) -> None:
    denoising, targets = make(kind), make_targets([300])

    def taken(seed: int) -> list[int]:
        (made,) = denoising(replace(targets, seeds=(seed,)))
        queries, objects = made.group.known[0].queries, made.group.known[0].objects
        still = make(kind, label_noise=0.0, box_noise=0.0)(replace(targets, seeds=(seed,)))[0]
        torch.testing.assert_close(still.boxes[0, queries], targets.boxes[0][objects], atol=1e-6, rtol=0)
        return objects.unique().tolist()

    assert taken(1) == taken(1)
    assert len(taken(1)) == 100
    assert taken(1) != taken(2)
    assert taken(1) != list(range(100))


def test_every_object_counts_once_and_those_of_a_crowd_for_all(kind: str) -> None:
    counts = [1, 6, 40, 100, 250]
    (made,) = make(kind)(make_targets(counts))
    for count, known in zip(counts, made.group.known, strict=True):
        assert known.weights[known.queries].sum().item() == pytest.approx(count, rel=1e-5)


def test_the_released_rule_is_the_papers_for_an_image_alone(kind: str) -> None:
    torch.manual_seed(0)
    (wanted,) = make(kind)(make_targets([4]))
    torch.manual_seed(0)
    number = {"num_groups": 5} if kind == "fixed" else {"num_queries": 100}
    (made,) = make(kind, groups=GroupsPerProcess(**number))(make_targets([4]))
    assert torch.equal(made.content, wanted.content)
    assert torch.equal(made.boxes, wanted.boxes)
    assert made.group.blocks == wanted.group.blocks
    assert torch.equal(made.group.known[0].weights, wanted.group.known[0].weights)


@pytest.mark.parametrize("name", ["dino", "dn_detr"])
def test_the_queries_of_a_training_step_fit_the_budget_of_a_crowd(name: str) -> None:
    detector = tiny_detector(name, denoising__groups__max_objects=5).train()
    lengths = []
    detector.decoder.register_forward_pre_hook(
        lambda module, inputs: lengths.extend(len(each) for each in inputs[0].groups if each.role is Role.DENOISING)
    )
    losses = detector(make_inputs([(96, 128)], [40]))
    assert lengths == [10 if name == "dino" else 25]
    assert all(value.isfinite() for value in losses.values())
