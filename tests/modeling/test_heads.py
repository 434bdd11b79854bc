import math

import pytest
import torch

from querydet.modeling.heads import PredictionHeads


def make(**arguments: object) -> PredictionHeads:
    defaults = {"num_classes": 3, "num_layers": 4, "share_layers": False, "inverse_sigmoid_eps": 1e-3, "embed_dim": 8}
    return PredictionHeads(**{**defaults, **arguments})  # type: ignore[arg-type]


@torch.no_grad()
def test_heads_start_at_the_prior_and_move_nothing() -> None:
    heads = make()
    hidden, boxes = torch.randn(1, 5, 8), 0.2 + 0.6 * torch.rand(1, 5, 4)
    for layer in range(4):
        torch.testing.assert_close(heads.refine(layer, hidden, boxes), boxes)
        assert heads.classify(layer, torch.zeros(1, 1, 8)).sigmoid()[0, 0, 0] == pytest.approx(0.01)


def test_all_layers_start_equal_but_learn_apart() -> None:
    heads = make()
    assert torch.equal(heads.class_heads[0].weight, heads.class_heads[3].weight)
    assert torch.equal(heads.box_heads[0].layers[0].weight, heads.box_heads[3].layers[0].weight)
    assert heads.class_heads[0].weight is not heads.class_heads[3].weight


def test_shared_heads_are_stored_once() -> None:
    assert len(make(share_layers=True).class_heads) == 1


@torch.no_grad()
def test_only_the_first_layer_starts_with_small_boxes() -> None:
    heads = make(initial_size_logit=-2.0)
    sizes = [heads.refine(layer, torch.zeros(1, 1, 8), torch.full((1, 1, 2), 0.5))[0, 0, 2].item() for layer in (0, 1)]
    assert sizes == pytest.approx([1 / (1 + math.exp(2)), 0.5])
