"""Dense attention's parts, beside the recorded runs of the released code in tests/parity."""

import math

import pytest
import torch
from detectron2.config import instantiate
from torch import nn

from tests.models import make_inputs, make_targets, tiny_config, tiny_detector


@pytest.mark.parametrize("name", ["detr", "group_conditional_detr", "dab_detr"])
def test_every_layer_starts_from_xavier_weights_of_its_own(name):
    torch.manual_seed(0)
    detector = instantiate(tiny_config(name))
    for stack in (detector.encoder.layers, detector.decoder.layers):
        first, second = (dict(layer.named_parameters()) for layer in stack)
        for name, weight in second.items():
            if weight.dim() == 2:
                bound = math.sqrt(6 / sum(weight.shape))
                assert weight.abs().max() <= bound, name
                assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15), name
                assert not torch.equal(weight, first[name]), name


def test_only_the_first_layer_adds_positions_to_contents():
    first, second = tiny_detector("conditional_detr").decoder.layers
    assert isinstance(first.cross_attention.query_position, nn.Linear)
    assert second.cross_attention.query_position is None


def test_boxes_move_from_the_same_points_in_all_layers():
    detector = tiny_detector("conditional_detr").eval()
    memory = detector.encoder(detector.neck({"res5": torch.randn(1, 8, 4, 5)}, torch.zeros(1, 128, 160).bool()))
    queries = detector.compose_queries(detector.selection(memory, training=False), None)
    outputs = detector.decoder(queries, memory, detector.heads)
    assert all(torch.equal(each.reference_boxes, queries.boxes) for each in outputs)
    assert queries.boxes.shape[-1] == 2


@torch.no_grad()
def test_extra_groups_change_nothing_for_the_primary_one():
    detector = tiny_detector("group_conditional_detr").eval()
    features, padding = {"res5": torch.randn(2, 8, 4, 5)}, torch.zeros(2, 128, 160).bool()
    (alone,) = detector.predict(features, padding)
    among = detector.predict(features, padding, make_targets([2, 1]))
    (same,) = (each for each in among if each.is_last and each.group.name == "primary")
    assert len(among) == 2 * 3
    torch.testing.assert_close(same.logits, alone.logits)
    torch.testing.assert_close(same.boxes, alone.boxes)


def test_every_group_learns():
    detector = tiny_detector("group_conditional_detr").train()
    sum(detector(make_inputs([(96, 128)], counts=[2])).values()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    assert all(table.weight.grad.any() for table in detector.selection.extra_groups)
