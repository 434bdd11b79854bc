"""The stack that all decoders share: how references and gradients travel between layers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.decoder import BoxPosition, DeformableDecoder, OneToManyBranch, deformable_decoder_layer
from querydet.modeling.decoder.base import QueryDecoder
from querydet.structures import DecoderLayerOutput, QueryGroup, Role
from tests.modeling.decoder.stacks import heads, memory, queries


def make(num_layers: int = 3, one_to_many: OneToManyBranch | None = None, **arguments: Any) -> DeformableDecoder:
    torch.manual_seed(0)
    layer = deformable_decoder_layer(embed_dim=32, num_heads=4, ffn_dim=32, num_levels=1, one_to_many=one_to_many)
    arguments.setdefault("query_position", BoxPosition(embed_dim=32))
    return DeformableDecoder(layer=layer, num_layers=num_layers, **arguments)


def run(decoder: QueryDecoder, **arguments: Any) -> tuple[DecoderLayerOutput, ...]:
    torch.manual_seed(1)
    return decoder(queries(**arguments), memory(), heads(decoder.num_layers))


def box_gradients(look_forward_twice: bool) -> list[bool]:
    """Which layers' box heads learn from the box loss of the last of three layers, through the boxes alone."""
    decoder = make(look_forward_twice=look_forward_twice)
    for layer in decoder.layers:  # cut the path through the contents
        layer.register_forward_pre_hook(lambda module, inputs: (inputs[0].detach(), *inputs[1:]))
    made, batch = heads(3), queries()
    predictions = made(decoder(batch, memory(), made), batch.groups, last_only=True)
    predictions[0].boxes.sum().backward()
    return [head.layers[2].weight.grad is not None for head in made.box_heads]


def test_looking_forward_once_trains_the_layers_own_step() -> None:
    assert box_gradients(look_forward_twice=False) == [False, False, True]


def test_looking_forward_twice_trains_the_step_before_too_and_no_earlier_one() -> None:
    assert box_gradients(look_forward_twice=True) == [False, True, True]


def test_every_layer_starts_from_the_boxes_that_the_one_before_refined() -> None:
    decoder, made, batch = make(), heads(3), queries()
    outputs = decoder(batch, memory(), made)
    assert torch.equal(outputs[0].reference_boxes, batch.boxes)
    for index in (0, 1):
        refined = made.refine(index, outputs[index].hidden, outputs[index].reference_boxes)
        torch.testing.assert_close(outputs[index + 1].reference_boxes, refined)
        assert not outputs[index + 1].reference_boxes.requires_grad


def test_points_become_boxes_after_the_first_layer() -> None:
    outputs = run(make(query_position=None), reference_dim=2, position=True)
    assert [each.reference_boxes.shape[-1] for each in outputs] == [2, 4, 4]


def test_without_refinement_all_layers_keep_the_first_references() -> None:
    first, *others = run(make(refine_boxes=False))
    assert all(torch.equal(each.base_boxes, first.base_boxes) for each in others)
    with pytest.raises(ValueError, match="look_forward_twice needs refine_boxes"):
        make(refine_boxes=False, look_forward_twice=True)


def test_the_norm_of_the_outputs_is_not_what_boxes_are_refined_from() -> None:
    plain, normed = make(), make(output_norm=True)
    normed.load_state_dict(plain.state_dict(), strict=False)
    nn.init.normal_(normed.norm.weight)
    for one, other in zip(run(plain), run(normed), strict=True):
        torch.testing.assert_close(other.reference_boxes, one.reference_boxes)
        torch.testing.assert_close(other.hidden, normed.norm(one.hidden))


def test_layers_start_from_different_weights() -> None:
    first, second = (dict(layer.named_parameters()) for layer in make(num_layers=2).layers)
    for name in ("ffn.linear1.weight", "self_attention.in_proj_weight", "cross_attention.value_proj.weight"):
        assert not torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name].std(), second[name].std(), rtol=0.2, atol=0)
    offsets = "cross_attention.sampling_offsets.bias"
    assert torch.equal(first[offsets], second[offsets])
    assert torch.equal(second["self_attention.out_proj.bias"], torch.zeros(32))


def test_recomputation_changes_neither_outputs_nor_gradients() -> None:
    results = []
    for recompute in (False, True):
        decoder = make(activation_checkpointing=recompute)
        last = run(decoder)[-1].hidden
        last.square().sum().backward()
        results.append([last.detach(), *(parameter.grad for parameter in decoder.layers.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_queries_need_a_position_from_somewhere() -> None:
    with pytest.raises(ValueError, match="no positional part and the decoder has no query_position"):
        run(make(query_position=None))


def test_the_branch_is_computed_when_it_is_there_and_asked_for() -> None:
    primary = QueryGroup("primary", 2, 5)
    groups = (QueryGroup("denoising", 0, 2, Role.DENOISING, visible_groups=("primary",)), primary)
    branch = make(one_to_many=OneToManyBranch(after="ffn"))
    assert branch.has_one_to_many
    assert not make().has_one_to_many
    for decoder, wanted, there in ((branch, True, True), (branch, False, False), (make(), True, False)):
        outputs = decoder(queries(groups=groups), memory(), heads(3), one_to_many=wanted)
        for each in outputs:
            assert (each.one_to_many is not None) == there
            if each.one_to_many is not None:
                assert each.one_to_many.groups == (primary,)
                assert torch.equal(each.one_to_many.hidden, each.hidden[:, 2:]), "both follow the last step"


def test_it_tells_what_it_makes() -> None:
    decoder = make(num_layers=2)
    assert (decoder.num_layers, decoder.embed_dim, decoder.embeds_boxes) == (2, 32, True)
    assert not make(query_position=None).embeds_boxes


def test_a_kind_of_decoder_has_to_say_where_its_queries_look() -> None:
    plain = QueryDecoder(layer=deformable_decoder_layer(embed_dim=32, num_heads=4, num_levels=1), num_layers=1)
    with pytest.raises(NotImplementedError):
        run(plain)


def test_a_query_position_of_ones_own_is_called_before_every_layer() -> None:
    class Noting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[int, Tensor]] = []

        def forward(self, boxes: Tensor, valid_ratios: Tensor, content: Tensor, layer: int) -> Tensor:
            self.calls.append((layer, boxes))
            return torch.zeros_like(content)

    noting = Noting()
    outputs = run(make(query_position=noting))
    assert [layer for layer, _ in noting.calls] == [0, 1, 2]
    assert all(boxes is each.reference_boxes for (_, boxes), each in zip(noting.calls, outputs, strict=True))
