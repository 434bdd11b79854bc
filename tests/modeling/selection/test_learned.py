"""Queries that are the same for every image."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import instantiate

from querydet.config import load_config
from querydet.modeling.selection import (
    LearnedBoxes,
    LearnedBoxesWithPatterns,
    LearnedPoints,
    LearnedQueries,
    LearnedQueriesWithPoints,
)
from querydet.structures import TokenPyramid
from tests.models import make_predictions, make_small, make_targets, tiny_detector

KINDS = (LearnedQueries, LearnedQueriesWithPoints, LearnedPoints, LearnedBoxes, LearnedBoxesWithPatterns)


def memory(images: int) -> TokenPyramid:
    return TokenPyramid(
        tokens=torch.zeros(images, 4, 8),
        position=torch.zeros(images, 4, 8),
        padding=torch.zeros(images, 4, dtype=torch.bool),
        shapes=((2, 2),),
        valid_ratios=torch.ones(images, 1, 2),
    )


def test_tables_are_repeated_for_each_image() -> None:
    selection = LearnedBoxes(num_queries=3, embed_dim=8)
    for training in (True, False):
        (initial,) = selection(memory(2), training)
        assert torch.equal(initial.content, selection.content.weight.expand(2, 3, 8))
        assert torch.equal(initial.boxes, selection.anchors.weight.sigmoid().expand(2, 3, 4))
        assert initial.position is None
        assert initial.predictions is None


@pytest.mark.parametrize("kind", KINDS)
def test_queries_are_of_the_kind_that_the_selection_says(kind: type) -> None:
    selection = kind(num_queries=3, embed_dim=8)
    (initial,) = selection(memory(2), True)
    assert initial.content.shape == (2, 3, 8)
    assert initial.boxes.shape == (2, 3, selection.reference_dim)
    assert (initial.position is not None) == selection.fixed_positions
    assert (initial.group.name, len(initial.group)) == ("primary", selection.num_queries)
    assert (initial.boxes >= 0).all()
    assert (initial.boxes <= 1).all()
    assert selection.embed_boxes(torch.rand(2, 3, 4)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_at_least_one_query(kind: type) -> None:
    for number in (0, -3, 2.5):
        with pytest.raises(ValueError, match=f"whole number and at least 1, found {number}"):
            kind(num_queries=number, embed_dim=8)


def test_positions_are_a_table_with_contents_of_zero_at_the_centre_of_the_image() -> None:
    selection = LearnedQueries(num_queries=3, embed_dim=8)
    (initial,) = selection(memory(2), True)
    assert torch.equal(initial.position, selection.embedding.weight.expand(2, 3, 8))
    assert not initial.content.any()
    assert initial.boxes.eq(0.5).all()


def test_positions_predict_their_points() -> None:
    selection = LearnedQueriesWithPoints(num_queries=3, embed_dim=8)
    (initial,) = selection(memory(1), True)
    torch.testing.assert_close(initial.boxes[0], selection.point_head(selection.embedding.weight).sigmoid())
    initial.boxes.sum().backward()
    assert selection.embedding.weight.grad.any()


def test_one_stage_queries_are_halves_of_a_table_of_positions_and_contents() -> None:
    selection = LearnedPoints(num_queries=3, embed_dim=8)
    (initial,) = selection(memory(1), True)
    position, content = selection.embedding.weight.chunk(2, dim=-1)
    assert torch.equal(initial.position[0], position)
    assert torch.equal(initial.content[0], content)
    torch.testing.assert_close(initial.boxes[0], selection.reference_points(position).sigmoid())


def test_the_indicator_of_matching_queries_is_zero() -> None:
    for kind in (LearnedBoxes, LearnedBoxesWithPatterns):
        patterns = {"num_patterns": 1} if kind is LearnedBoxesWithPatterns else {}
        selection = kind(num_queries=3, embed_dim=8, indicator=True, **patterns)
        assert selection.content.weight.shape[1] == 7
        (initial,) = selection(memory(1), training=True)
        assert initial.content.shape == (1, 3, 8)
        assert not initial.content[..., -1].any()


def test_matching_queries_of_dn_detr_start_from_one_content() -> None:
    selection = LearnedBoxesWithPatterns(num_queries=3, num_patterns=1, embed_dim=8, indicator=True)
    (initial,) = selection(memory(2), training=True)
    assert torch.equal(initial.content[..., :-1], selection.content.weight.expand(2, 3, 7))
    (plain,) = LearnedBoxesWithPatterns(num_queries=3, embed_dim=8)(memory(2), training=True)
    assert not plain.content.any()


def test_patterns_come_with_every_box() -> None:
    selection = LearnedBoxesWithPatterns(num_queries=12, num_patterns=3, embed_dim=8)
    (initial,) = selection(memory(1), training=False)
    assert selection.num_queries == initial.content.shape[1] == 36
    for pattern in range(3):
        rows = slice(12 * pattern, 12 * (pattern + 1))
        assert torch.equal(initial.boxes[0, rows], initial.boxes[0, :12])
        assert torch.equal(initial.content[0, rows], selection.content.weight[pattern].expand(12, -1))
    with pytest.raises(ValueError, match="num_patterns must not be negative"):
        LearnedBoxesWithPatterns(num_queries=12, num_patterns=-1)


def test_patterns_are_added_to_a_shared_content_and_learn_the_indicator() -> None:
    """As released DN-DETR does; the shared content has one channel less, and 0 in its place."""
    selection = LearnedBoxesWithPatterns(
        num_queries=4, num_patterns=3, embed_dim=8, indicator=True, shared_content=True
    )
    assert (selection.content.weight.shape, selection.patterns.weight.shape) == ((1, 7), (3, 8))
    (initial,) = selection(memory(2), training=True)
    shared = torch.cat([selection.content.weight, torch.zeros(1, 1)], 1)
    for pattern in range(3):
        rows = initial.content[:, 4 * pattern : 4 * (pattern + 1)]
        assert torch.equal(rows, (shared + selection.patterns.weight[pattern]).expand(2, 4, 8))
        assert torch.equal(initial.boxes[:, 4 * pattern : 4 * (pattern + 1)], initial.boxes[:, :4])
    initial.content[..., -1].sum().backward()
    torch.testing.assert_close(selection.patterns.weight.grad[:, -1], torch.full((3,), 8.0))
    assert not selection.patterns.weight.grad[:, :-1].any()


def test_a_shared_content_without_patterns_is_that_of_all_queries() -> None:
    torch.manual_seed(0)
    one = LearnedBoxesWithPatterns(num_queries=4, embed_dim=8, indicator=True, shared_content=True)
    other = LearnedBoxesWithPatterns(num_queries=4, num_patterns=1, embed_dim=8, indicator=True)
    other.load_state_dict(one.state_dict())
    assert one.num_queries == other.num_queries == 4
    (first,), (second,) = one(memory(1), training=True), other(memory(1), training=True)
    assert torch.equal(first.content, second.content)


@pytest.mark.parametrize("project", ["dn_detr/configs/", "ms_detr/configs/ms_"])
def test_recipes_of_several_patterns_learn_the_indicator(project: str) -> None:
    model = load_config(f"projects/{project}dn_dab_detr_r50_dc5_3patterns_12ep.py").model
    make_small(model)
    (initial,) = instantiate(model).selection(memory(1), training=True)
    assert initial.content.shape[1] == 3 * 12
    assert initial.content[..., -1].unique().numel() == 3


def test_initialisations() -> None:
    torch.manual_seed(0)
    normal = LearnedBoxes(num_queries=2000, embed_dim=8)
    for table in (normal.content.weight, normal.anchors.weight):
        assert abs(table.mean().item()) < 0.05
        assert table.std().item() == pytest.approx(1, abs=0.05)
    detrex = LearnedBoxes(num_queries=2000, embed_dim=8, content_init="zeros", box_init="uniform")
    assert not detrex.content.weight.any()
    assert detrex.anchors.weight.abs().max() == 3
    quarters = detrex.anchors.weight.sigmoid().flatten().quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quarters, torch.tensor([0.25, 0.5, 0.75]), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "selection",
    [
        LearnedBoxes(num_queries=300, embed_dim=9, indicator=True, content_init="zeros", box_init="uniform"),
        LearnedBoxesWithPatterns(num_queries=300, num_patterns=200, embed_dim=9, indicator=True),
        LearnedBoxesWithPatterns(num_queries=300, num_patterns=200, embed_dim=9, indicator=True, shared_content=True),
    ],
)
def test_tables_of_another_group_start_in_the_same_way_with_other_values(selection: LearnedBoxes) -> None:
    torch.manual_seed(0)
    other = selection.another()
    assert type(other) is type(selection)
    for name, table in selection.state_dict().items():
        found = other.state_dict()[name]
        assert found.shape == table.shape
        assert torch.equal(found, table) != table.any()
        if table.numel() > 100:
            torch.testing.assert_close(found.std(), table.std(), rtol=0.1, atol=0)
    assert (other.indicator, other.num_queries) == (selection.indicator, selection.num_queries)


def test_unknown_initialisations() -> None:
    with pytest.raises(ValueError, match="content_init must be 'normal' or 'zeros', found 'xavier'"):
        LearnedBoxes(num_queries=3, content_init="xavier")
    with pytest.raises(ValueError, match="box_init must be 'normal' or 'uniform', found 'zeros'"):
        LearnedBoxes(num_queries=3, box_init="zeros")


def test_naive_one_to_many_offers_an_object_several_times() -> None:
    detector = tiny_detector("conditional_detr", selection__repeats=3).train()
    (initial,) = detector.selection(memory(2), training=True)
    assert (initial.group.target_repeats, initial.group.loss_divisor) == (3, 3)
    predictions, targets = make_predictions(2, 12), make_targets([3, 2])
    (rule,) = detector.criterion.rules.values()
    for image, pairs in enumerate(rule.assigner(replace(predictions, group=initial.group), targets)):
        assert torch.equal(pairs.objects.bincount(), torch.full((targets.counts[image],), 3))


@pytest.mark.parametrize("repeats", [0, 13, 2.5])
def test_repeats_fit_the_queries(repeats: int) -> None:
    with pytest.raises(ValueError, match=rf"repeats={repeats} does not fit.*12 queries"):
        LearnedQueries(num_queries=12, embed_dim=8, repeats=repeats)
