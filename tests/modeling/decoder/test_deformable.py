"""How gradients travel between decoder layers."""

import torch
from torch import Tensor, nn

from querydet.modeling.decoder import BoxPosition
from querydet.modeling.decoder.deformable import DecoderLayer, DeformableDecoder
from querydet.modeling.heads import PredictionHeads
from querydet.structures import QueryBatch, QueryGroup, TokenPyramid


class CutLayer(DecoderLayer):
    """A decoder layer whose output passes no gradient on, so that only the path through the boxes remains."""

    def forward(self, content: Tensor, *inputs: object) -> Tensor:
        return super().forward(content.detach(), *inputs)  # type: ignore[arg-type]


def box_gradients(look_forward_twice: bool) -> list[bool]:
    """Which layers' box heads learn from the box loss of the last of three layers."""
    torch.manual_seed(0)
    layer = CutLayer(embed_dim=32, num_heads=4, ffn_dim=32, num_levels=1)
    decoder = DeformableDecoder(
        layer=layer, num_layers=3, query_position=BoxPosition(embed_dim=32), look_forward_twice=look_forward_twice
    )
    heads = PredictionHeads(num_classes=2, num_layers=3, share_layers=False, inverse_sigmoid_eps=1e-5, embed_dim=32)
    for head in heads.box_heads:
        nn.init.normal_(head.layers[2].weight)
    memory = TokenPyramid(
        tokens=torch.randn(1, 16, 32),
        position=torch.zeros(1, 16, 32),
        padding=torch.zeros(1, 16, dtype=torch.bool),
        shapes=((4, 4),),
        valid_ratios=torch.ones(1, 1, 2),
    )
    queries = QueryBatch(torch.randn(1, 5, 32), torch.rand(1, 5, 4), None, (QueryGroup("primary", 0, 5),))
    predictions = heads(decoder(queries, memory, heads), queries.groups, last_only=True)
    predictions[0].boxes.sum().backward()
    return [head.layers[2].weight.grad is not None for head in heads.box_heads]


def test_looking_forward_once_trains_the_layers_own_step() -> None:
    assert box_gradients(look_forward_twice=False) == [False, False, True]


def test_looking_forward_twice_trains_the_step_before_too_and_no_earlier_one() -> None:
    assert box_gradients(look_forward_twice=True) == [False, True, True]


def test_layers_start_from_different_weights() -> None:
    decoder = DeformableDecoder(layer=DecoderLayer(embed_dim=32, num_heads=4, ffn_dim=32), num_layers=2)
    first, second = (dict(layer.named_parameters()) for layer in decoder.layers)
    for name in ("ffn.linear1.weight", "self_attention.in_proj_weight", "cross_attention.value_proj.weight"):
        assert not torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name].std(), second[name].std(), rtol=0.2, atol=0)
    offsets = "cross_attention.sampling_offsets.bias"
    assert torch.equal(first[offsets], second[offsets])
    assert torch.equal(second["self_attention.out_proj.bias"], torch.zeros(32))
