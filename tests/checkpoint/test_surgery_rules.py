"""Rows that move, by hand."""

import pytest
import torch

from querydet.checkpoint.surgery_rules import ClassMap, LevelMap, adapt_rows
from tests.models import tiny_detector


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_rows_of_classes_go_to_their_places_and_new_ones_stay():
    classes = ClassMap(rows=(2, None, 0), source_count=3, names=("dog", "bus", "cat"))
    initial = column(-1, -2, -3)
    assert torch.equal(classes.move(initial, column(10, 11, 12)), column(12, -2, 10))
    assert torch.equal(initial, column(-1, -2, -3))
    assert classes.describe_fresh() == "the rows of bus"
    assert ClassMap(rows=(None, 0), source_count=1).describe_fresh() == "the rows of class 0"
    assert ClassMap(rows=(0, 1), source_count=2).describe_fresh() == ""


def test_levels_move_along_any_dimension():
    levels = LevelMap(before=2, after=3, shift=1, new=(0,))
    assert torch.equal(levels.move(column(-1, -2, -3), column(10, 11), 0), column(-1, 10, 11))
    assert torch.equal(levels.move(column(-1, -2, -3).T, column(10, 11).T, 1), column(-1, 10, 11).T)
    fewer = LevelMap(before=3, after=2, shift=-1)
    assert torch.equal(fewer.move(column(-1, -2), column(10, 11, 12), 0), column(11, 12))


def test_projections_of_backbone_maps_are_renamed_with_the_levels():
    finer, coarser = LevelMap(before=3, after=4, shift=1), LevelMap(before=4, after=3, shift=-1)
    assert finer.rename("neck.projections.0.conv.weight") == "neck.projections.1.conv.weight"
    assert coarser.rename("neck.projections.2.norm.bias") == "neck.projections.1.norm.bias"
    assert coarser.rename("neck.projections.0.conv.weight") not in tiny_detector("dino").state_dict()
    assert finer.rename("neck.extra_projections.0.conv.weight") == "neck.extra_projections.0.conv.weight"


def test_a_last_row_of_no_object_stays_the_last():
    """DETR's class heads have one output more than there are classes."""
    model = tiny_detector("detr", num_classes=2)
    state = tiny_detector("detr", seed=1).state_dict()
    classes = ClassMap.between(model, state, ["a", "b", "c", "d", "e"], ["e", "new"])
    levels = LevelMap.between(model, state)
    key = "heads.class_heads.0.weight"
    initial = model.state_dict()[key]
    found = adapt_rows(key, initial, state[key], model, classes, levels)
    assert found is not None
    assert torch.equal(found.value, torch.stack([state[key][4], initial[1], state[key][5]]))


def test_scores_of_levels_move_with_the_levels():
    """Of a decoder with standard attention to several levels, here with one more."""
    model, before = tiny_detector("dn_deformable_encoder", neck__num_levels=5), tiny_detector("dn_deformable_encoder")
    state, own = before.state_dict(), model.state_dict()
    levels = LevelMap.between(model, state)
    for key in ("decoder.layers.1.level_gate.weight", "decoder.layers.1.level_gate.bias"):
        found = adapt_rows(key, own[key], state[key], model, ClassMap((0,), 1), levels)
        assert found is not None
        assert torch.equal(found.value, torch.cat([state[key], own[key][4:]]))
        assert found.fresh == "level 4"


@pytest.mark.parametrize("shape", [(3, 4), (2, 3), (2, 3, 1)])
def test_a_weight_of_another_shape_that_no_rule_explains_is_none(shape):
    model, initial = tiny_detector("dino"), torch.zeros(2, 4)
    classes, levels = ClassMap((0,), 1), LevelMap(4, 4)
    key = "encoder.layers.0.ffn.linear1.weight"
    assert adapt_rows(key, initial, torch.zeros(shape), model, classes, levels) is None
    assert adapt_rows(key, initial, torch.ones(2, 4), model, classes, levels).value.all()
