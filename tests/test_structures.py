"""What the data between the stages says about itself."""

import pytest
import torch

from querydet.structures import (
    Branch,
    InitialQueries,
    ObjectCount,
    PredictionSet,
    ProposalPredictions,
    QueryGroup,
    Stage,
    Targets,
    TokenPyramid,
)


def predictions(stage=Stage.DECODER, layer=3, is_last=False, loss_suffix="", branch=Branch.ONE_TO_ONE):
    empty = torch.zeros(1, 2, 4)
    group = QueryGroup("primary", 0, 2, loss_suffix=loss_suffix)
    return PredictionSet(stage, layer, is_last, group, logits=empty, boxes=empty, start_boxes=empty, branch=branch)


@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        ({"is_last": True}, ""),
        ({}, "_3"),
        ({"loss_suffix": "dn"}, "_dn_3"),
        ({"branch": Branch.ONE_TO_MANY}, "_o2m_3"),
        ({"loss_suffix": "dn", "branch": Branch.ONE_TO_MANY, "is_last": True}, "_dn_o2m"),
        ({"stage": Stage.ENCODER, "layer": 0, "is_last": True}, "_enc"),
    ],
)
def test_names_of_losses_say_stage_group_branch_and_layer(options, suffix):
    assert predictions(**options).suffix == suffix


def test_a_set_in_words():
    assert predictions().describe() == "decoder layer 3 (primary queries)"
    assert predictions(branch=Branch.ONE_TO_MANY).describe() == "decoder layer 3 (primary queries, one-to-many)"


def test_a_moved_group_keeps_all_but_its_place():
    group = QueryGroup("one", 10, 14, visible_groups=("primary",), target_repeats=3, loss_weight=0.5)
    moved = group.moved(2)
    assert (len(group), len(moved), moved.rows) == (4, 4, slice(2, 6))
    assert moved.moved(10) == group


def test_a_pyramid_counts_the_tokens_of_its_levels():
    tokens = torch.zeros(1, 31, 8)
    shapes = ((4, 5), (3, 3), (1, 2))
    pyramid = TokenPyramid(tokens, tokens, torch.zeros(1, 31, dtype=torch.bool), shapes, torch.ones(1, 3, 2))
    assert pyramid.level_sizes == [20, 9, 2]


def test_encoder_predictions_are_a_set_of_their_own_group():
    group = QueryGroup("two", 40, 46, loss_weight=0.5)
    queries = InitialQueries(group, torch.zeros(1, 6, 8), torch.zeros(1, 6, 4))
    assert queries.encoder_predictions() == ()
    proposals = ProposalPredictions(torch.zeros(1, 9, 5), torch.zeros(1, 9, 4), torch.ones(1, 9, 4), loss_divisor=3)
    (found,) = InitialQueries(group, queries.content, queries.boxes, predictions=proposals).encoder_predictions()
    assert found.group == QueryGroup("two", 0, 9, loss_divisor=3)
    assert (found.suffix, found.start_boxes is proposals.anchors) == ("_enc", True)


def test_objects_of_a_step_that_is_computed_at_once():
    assert ObjectCount((3, 0, 5)).mean_per_micro_batch == 8.0
    assert ObjectCount((3, 0, 5), num_micro_batches=2).mean_per_micro_batch == 4.0
    assert ObjectCount(()).mean_per_micro_batch == 0.0


def test_class_agnostic_targets_keep_boxes_and_counts():
    labels, boxes = (torch.tensor([4, 2]), torch.zeros(0, dtype=torch.int64)), (torch.rand(2, 4), torch.zeros(0, 4))
    targets = Targets(labels, boxes, ("a", "b"), (1, None), ObjectCount((2, 0)))
    agnostic = targets.class_agnostic()
    assert [each.tolist() for each in agnostic.labels] == [[0, 0], []]
    assert agnostic.boxes is boxes
    assert (agnostic.counts, targets.labels[0].tolist()) == ([2, 0], [4, 2])
