import math
from dataclasses import replace

import pytest
import torch

from querydet.modeling.heads import PredictionHeads
from querydet.structures import Branch, BranchInput, DecoderLayerOutput, QueryGroup, Role

BRANCHES = (Branch.ONE_TO_ONE, Branch.ONE_TO_MANY)


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


def test_box_heads_that_do_not_start_at_zero_are_equal_in_all_layers() -> None:
    heads = make(zero_box_head=False)
    first = heads.box_heads[0].layers[-1]
    assert first.weight.any()
    assert all(torch.equal(head.layers[-1].weight, first.weight) for head in heads.box_heads)
    with pytest.raises(ValueError, match=r"initial_size_logit=-2\.0 is for box heads that start at zero"):
        make(zero_box_head=False, initial_size_logit=-2.0)


def outputs(number: int, groups: tuple[QueryGroup, ...]) -> tuple[DecoderLayerOutput, ...]:
    """Of layers of 5 queries, of which the last group has a one-to-many branch."""
    torch.manual_seed(1)
    return tuple(
        DecoderLayerOutput(
            hidden=torch.randn(2, 5, 8),
            reference_boxes=torch.rand(2, 5, 4),
            base_boxes=0.2 + 0.6 * torch.rand(2, 5, 4),
            one_to_many=BranchInput(torch.randn(2, len(groups[-1]), 8), groups[-1:]),
        )
        for _ in range(number)
    )


GROUPS = (QueryGroup("denoising", 0, 2, Role.DENOISING), QueryGroup("primary", 2, 5))


@pytest.mark.parametrize("last_only", [False, True])
def test_every_group_is_predicted_after_every_layer_from_its_own_rows(last_only: bool) -> None:
    heads, layers = make(num_layers=3), outputs(3, GROUPS)
    found = [each for each in heads(layers, GROUPS, last_only) if each.branch is Branch.ONE_TO_ONE]
    wanted = [(layer, group) for layer in range(2 if last_only else 0, 3) for group in GROUPS]
    assert [(each.layer, each.group) for each in found] == wanted
    for each in found:
        hidden, base = layers[each.layer].hidden, layers[each.layer].base_boxes
        assert each.is_last == (each.layer == 2)
        rows = each.group.rows
        torch.testing.assert_close(each.logits, heads.classify(each.layer, hidden)[:, rows])
        torch.testing.assert_close(each.boxes, heads.refine(each.layer, hidden, base)[:, rows])
        assert torch.equal(each.start_boxes, layers[0].reference_boxes[:, rows])


def test_a_one_to_many_prediction_knows_the_one_to_one_prediction_of_its_queries() -> None:
    heads, layers = make(num_layers=3), outputs(3, GROUPS)
    predictions = heads(layers, GROUPS, last_only=False)
    many = [each for each in predictions if each.branch is Branch.ONE_TO_MANY]
    assert [(each.layer, each.group.name) for each in many] == [(layer, "primary") for layer in range(3)]
    for each in many:
        assert each.one_to_one in predictions
        assert each.one_to_one is not None
        assert (each.one_to_one.layer, each.one_to_one.group) == (each.layer, each.group)
        branch = layers[each.layer].one_to_many
        assert branch is not None
        torch.testing.assert_close(each.logits, heads.classify(each.layer, branch.hidden))


@pytest.mark.parametrize("separate", [(), ("class",), ("box",), ("class", "box")])
def test_separate_heads_of_the_branch_start_as_copies(separate: tuple[str, ...]) -> None:
    heads = make(separate_one_to_many=separate)
    hidden, boxes = torch.randn(1, 5, 8), torch.rand(1, 5, 4)
    for kind in separate:
        for own, main in zip(heads.one_to_many_heads[kind], getattr(heads, f"{kind}_heads"), strict=True):
            for name, value in own.state_dict().items():
                assert torch.equal(value, main.state_dict()[name])
                assert value is not main.state_dict()[name]
    with torch.no_grad():
        for parameter in heads.one_to_many_heads.parameters():
            parameter.add_(1)
    main, many = ((heads.classify(1, hidden, branch), heads.refine(1, hidden, boxes, branch)) for branch in BRANCHES)
    for kind, one, other in zip(("class", "box"), main, many, strict=True):
        assert torch.equal(one, other) != (kind in separate)


def test_kinds_of_heads_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"may hold 'class' and 'box', found \['boxes'\]"):
        make(separate_one_to_many=["boxes"])


def test_inference_classifies_after_the_last_layer_alone() -> None:
    """So that the other class heads need not be exported."""
    heads = make(num_layers=3, separate_one_to_many=["class"])
    for name in heads.training_only:
        for parameter in heads.get_submodule(name).parameters():
            parameter.data.fill_(torch.nan)
    layers = [replace(each, one_to_many=None) for each in outputs(3, GROUPS)]
    for layer in (0, 1):
        assert heads.refine(layer, layers[layer].hidden, layers[layer].base_boxes).isfinite().all()
    (_, last) = heads(tuple(layers), GROUPS, last_only=True)
    assert last.logits.isfinite().all()
    assert last.boxes.isfinite().all()


def test_it_tells_the_number_of_classes_and_where_proposals_start() -> None:
    heads = make()
    assert heads.num_classes == 3
    assert heads.first_heads() == (heads.class_heads[-1], heads.box_heads[-1])
