"""The layer that weighs levels: which query its weights come from, and DAB-DETR's decoder with it."""

import math

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.decoder import (
    DabDecoder,
    DeformableDecoder,
    DetrDecoder,
    LevelwiseDecoderLayer,
    SecondStream,
    conditional_decoder_layer,
    deformable_decoder_layer,
    detr_decoder_layer,
    levelwise_decoder_layer,
)
from querydet.modeling.decoder.box_position import BoxPosition
from querydet.modeling.decoder.group_attention import plan_attention
from querydet.modeling.layers.stack import redrawn
from querydet.structures import QueryGroup, TokenPyramid
from tests.modeling.decoder.stacks import heads, memory, queries
from tests.models import tiny_detector

SIZES = {"embed_dim": 32, "num_heads": 4, "ffn_dim": 48}
PLAN = plan_attention((QueryGroup("primary", 0, 5),), torch.device("cpu"))


def levels(images: int = 1) -> TokenPyramid:
    """Tokens of two levels, 3 x 4 and 2 x 2."""
    return TokenPyramid(
        tokens=torch.randn(images, 16, 32),
        position=torch.randn(images, 16, 32),
        padding=torch.zeros(images, 16, dtype=torch.bool),
        shapes=((3, 4), (2, 2)),
        valid_ratios=torch.ones(images, 2, 2),
    )


def layer_of(num_levels: int = 2, **changes: object) -> LevelwiseDecoderLayer:
    torch.manual_seed(0)
    return levelwise_decoder_layer(**SIZES, num_levels=num_levels, **changes)  # type: ignore[arg-type]


def run(layer: nn.Module, content: Tensor, position: Tensor, sine: Tensor, image: TokenPyramid) -> Tensor:
    found, _ = layer(content, position, sine, image, PLAN)
    return found


@torch.no_grad()
def test_with_one_level_it_is_the_layer_of_dab_detr_bit_by_bit() -> None:
    gated, plain = layer_of(1), conditional_decoder_layer(**SIZES)
    state = gated.state_dict()
    plain.load_state_dict({name: value for name, value in state.items() if not name.startswith("level_gate.")})
    inputs, image = torch.randn(3, 2, 5, 32), memory(images=2, ratio=0.5)
    assert torch.equal(run(gated, *inputs, image), run(plain, *inputs, image))
    decoders = [DabDecoder(layer=one, query_position=BoxPosition(embed_dim=32), num_layers=1) for one in (gated, plain)]
    decoders[1].load_state_dict({key: value for key, value in decoders[0].state_dict().items() if "gate" not in key})
    start, head, image = queries(), heads(1), memory()
    first, second = (decoder(start, image, head)[0].hidden for decoder in decoders)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "order", [("self_attention", "cross_attention", "ffn"), ("ffn", "self_attention", "cross_attention")]
)
@torch.no_grad()
def test_weights_come_from_the_query_of_the_self_attention_before_the_first_step(order: tuple[str, ...]) -> None:
    layer, image = layer_of(order=order), levels()
    content, position, sine = torch.randn(3, 1, 5, 32)
    own = layer.self_attention
    query = own.query_content(content) + own.query_position(position)
    wanted = query @ layer.level_gate.weight.T + layer.level_gate.bias
    torch.testing.assert_close(layer.level_scores(position, content), wanted)
    seen = []
    plain = layer.cross_attention.attend
    layer.cross_attention.attend = lambda *inputs: (seen.append(inputs[-1]), plain(*inputs))[1]  # type: ignore[method-assign]
    run(layer, content, position, sine, image)
    (scores,) = seen
    torch.testing.assert_close(scores, wanted)


@torch.no_grad()
def test_a_gate_that_has_decided_looks_at_one_level() -> None:
    layer, image = layer_of(), levels()
    inputs = torch.randn(3, 1, 5, 32)
    layer.level_gate.bias.copy_(torch.tensor([1e4, 0.0]))
    found = run(layer, *inputs, image)
    image.tokens[:, 12:] = torch.randn(1, 4, 32)
    assert torch.equal(run(layer, *inputs, image), found)
    image.tokens[:, :12] = torch.randn(1, 12, 32)
    assert not torch.allclose(run(layer, *inputs, image), found)


def test_every_parameter_learns() -> None:
    layer = layer_of(activation="prelu")
    run(layer, *torch.randn(3, 1, 5, 32), levels()).square().sum().backward()
    dead = [name for name, value in layer.named_parameters() if value.grad is None or not value.grad.any()]
    assert dead == []


@torch.no_grad()
def test_a_second_stream_weighs_levels_by_its_own_contents() -> None:
    layer, image = layer_of(order=("cross_attention", "self_attention", "ffn")), levels()
    both, positions, sines = torch.randn(3, 1, 10, 32)
    ordinary, _ = layer(both[:, :5], positions[:, :5], sines[:, :5], image, PLAN)
    found, _ = layer(both, positions, sines, image, SecondStream().plan(PLAN, layer, index=1))
    torch.testing.assert_close(found[:, :5], ordinary)
    scores = layer.level_scores(positions[:, 5:], both[:, 5:])
    update = layer.cross_attention.attend(both[:, 5:], positions[:, 5:], sines[:, 5:], image, scores)
    torch.testing.assert_close(found[:, 5:], layer.ffn(layer.cross_attention_norm(both[:, 5:] + update)))


def test_initial_weights_of_the_gate() -> None:
    first = layer_of(4)
    second = redrawn(first)
    for layer in (first, second):
        bound = math.sqrt(6 / 36)
        assert 0.8 * bound < layer.level_gate.weight.abs().max() <= bound
        assert 0 < layer.level_gate.bias.abs().max() <= 1 / math.sqrt(32)
    assert not torch.equal(first.level_gate.weight, second.level_gate.weight)


def test_recomputed_activations_give_the_same_gradients() -> None:
    grads = []
    for recompute in (False, True):
        detector = tiny_detector("dn_deformable_encoder", decoder__activation_checkpointing=recompute).train()
        torch.manual_seed(1)
        image = TokenPyramid(
            tokens=torch.randn(1, 20, 32),
            position=torch.randn(1, 20, 32),
            padding=torch.zeros(1, 20, dtype=torch.bool),
            shapes=((3, 4), (2, 2), (1, 2), (1, 2)),
            valid_ratios=torch.ones(1, 4, 2),
        )
        outputs = detector.decoder(queries(), image, detector.heads)
        outputs[-1].hidden.square().sum().backward()
        grads.append([layer.level_gate.weight.grad for layer in detector.decoder.layers])
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(plain, again)


def test_a_decoder_takes_the_layers_that_read_its_references() -> None:
    position = {"query_position": BoxPosition(embed_dim=32)}
    with pytest.raises(
        ValueError, match=r"DabDecoder gives .* embedded references, but DeformableCrossAttention reads places"
    ):
        DabDecoder(layer=deformable_decoder_layer(**SIZES), **position)
    with pytest.raises(
        ValueError, match=r"DetrDecoder .* LevelwiseTokenAttention reads embedded .* detr_decoder_layer"
    ):
        DetrDecoder(layer=layer_of())
    with pytest.raises(ValueError, match=r"DeformableDecoder .* places references, but LevelwiseTokenAttention reads"):
        DeformableDecoder(layer=layer_of())
    with pytest.raises(ValueError, match=r"DabDecoder .* CrossAttention reads none .*levelwise_decoder_layer"):
        DabDecoder(layer=detr_decoder_layer(**SIZES), **position)


def test_the_decoder_says_how_many_levels_it_attends_to() -> None:
    position = {"query_position": BoxPosition(embed_dim=32)}
    assert DabDecoder(layer=layer_of(3), **position).num_levels == 3
    assert DabDecoder(layer=conditional_decoder_layer(**SIZES), **position).num_levels == 1
    assert DetrDecoder(layer=detr_decoder_layer(**SIZES)).num_levels == 1
