"""The decoders of DETR, Conditional DETR and DAB-DETR, beside their formulas written out with loops over heads."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.analysis.flops import build_on_meta, count_parameters
from querydet.config import get_config
from querydet.modeling.boxes import inverse_sigmoid
from querydet.modeling.decoder import DabDecoder, detr_decoder_layer
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.structures import QueryBatch, TokenPyramid
from tests.models import make_inputs, make_targets, tiny_detector

HEADS = 4


def start(detector: QueryDetector, training: bool = False) -> tuple[TokenPyramid, QueryBatch]:
    """Encoded tokens of two images, one of them padded, and the initial queries."""
    images = detector.preprocess(make_inputs([(96, 160), (64, 96)]))
    memory = detector.encoder(detector.neck(detector.backbone(images.tensor), padding_mask(images)))
    targets = make_targets([2, 1]) if training else None
    return memory, detector.compose_queries(detector.selection(memory, training), targets)


def sine(coordinate: Tensor, width: int) -> Tensor:
    """One coordinate (Q,) as (Q, width), number by number."""
    rows = []
    for value in coordinate.tolist():
        angles = [2 * math.pi * value / 10000 ** (2 * (n // 2) / width) for n in range(width)]
        rows.append([math.cos(angle) if n % 2 else math.sin(angle) for n, angle in enumerate(angles)])
    return torch.tensor(rows, dtype=coordinate.dtype)


def attention(parts: list[tuple[Tensor, Tensor]], value: Tensor, padding: Tensor | None) -> Tensor:
    """Softmax attention, head by head: the (queries, keys) of all parts lie side by side in a head."""
    mixed = []
    for head in range(HEADS):
        chunks = [(q.chunk(HEADS, -1)[head], k.chunk(HEADS, -1)[head]) for q, k in parts]
        query, key = torch.cat([q for q, _ in chunks], -1), torch.cat([k for _, k in chunks], -1)
        scores = query @ key.T / math.sqrt(query.shape[-1])
        if padding is not None:
            scores = scores.masked_fill(padding[None], -math.inf)
        mixed.append(scores.softmax(-1) @ value.chunk(HEADS, -1)[head])
    return torch.cat(mixed, -1)


def conditional_layer(layer: nn.Module, x: Tensor, position: Tensor, cue: Tensor, memory: TokenPyramid, image: int):
    """A layer as DN-DETR's released dense model computes it, for one image and no groups."""
    own, cross = layer.self_attention, layer.cross_attention
    query = own.query_content(x) + own.query_position(position)
    key = own.key_content(x) + own.key_position(position)
    x = layer.self_attention_norm(x + own.output(attention([(query, key)], own.value(x), None)))
    tokens, pe = memory.tokens[image], memory.position[image]
    query, key, key_position = cross.query_content(x), cross.key_content(tokens), cross.key_position(pe)
    if cross.query_position is not None:
        query, key = query + cross.query_position(position), key + key_position
    parts = [(query, key), (cross.query_sine(cue), key_position)]
    x = layer.cross_attention_norm(x + cross.output(attention(parts, cross.value(tokens), memory.padding[image])))
    hidden = layer.ffn.linear1(x)
    hidden = torch.where(hidden > 0, hidden, hidden * layer.ffn.activation.weight)
    return layer.ffn.norm(x + layer.ffn.linear2(hidden))


@torch.no_grad()
def test_dab_detr_is_its_formulas():
    detector = tiny_detector("dab_detr").double().eval()
    memory, queries = start(detector)
    outputs = detector.decoder(queries, memory, detector.heads)
    assert memory.padding[1].any()
    decoder, width = detector.decoder, 32
    for image in range(2):
        x, r = torch.zeros(12, width, dtype=torch.float64), queries.boxes[image]
        for index, layer in enumerate(decoder.layers):
            embedded = torch.cat([sine(r[:, n], width // 2) for n in (1, 0, 2, 3)], -1)
            position = decoder.query_position.mlp(embedded)
            cue = embedded[:, :width] * (1 if index == 0 else decoder.query_scale(x))
            wanted = decoder.size_head(x).sigmoid()
            cue[:, : width // 2] *= (wanted[:, 1] / r[:, 3])[:, None]
            cue[:, width // 2 :] *= (wanted[:, 0] / r[:, 2])[:, None]
            x = conditional_layer(layer, x, position, cue, memory, image)
            torch.testing.assert_close(outputs[index].hidden[image], decoder.norm(x))
            torch.testing.assert_close(outputs[index].reference_boxes[image], r)
            r = (detector.heads.box_heads[0](x) + inverse_sigmoid(r, 1e-3)).sigmoid()  # from before the norm


@torch.no_grad()
def test_detr_is_its_formulas():
    detector = tiny_detector("detr").double().eval()
    memory, queries = start(detector)
    outputs = detector.decoder(queries, memory, detector.heads)
    (last,) = detector.heads(outputs, queries.groups, last_only=True)
    image, position = 1, detector.selection.embedding.weight
    x = torch.zeros_like(position)
    for layer in detector.decoder.layers:
        for part, norm, keys, values, padding in (
            (layer.self_attention, layer.self_attention_norm, None, None, None),
            (
                layer.cross_attention,
                layer.cross_attention_norm,
                memory.tokens[image] + memory.position[image],
                memory.tokens[image],
                memory.padding[image],
            ),
        ):
            weights, biases = part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3)
            query = F.linear(x + position, weights[0], biases[0])
            key = F.linear(x + position if keys is None else keys, weights[1], biases[1])
            value = F.linear(x if values is None else values, weights[2], biases[2])
            x = norm(x + part.out_proj(attention([(query, key)], value, padding)))
        x = layer.ffn(x)
    box = detector.heads.box_heads[0](detector.decoder.norm(x)).sigmoid()  # no reference
    torch.testing.assert_close(last.boxes[image], box)
    outputs = detector.heads.class_heads[0](detector.decoder.norm(x))
    torch.testing.assert_close(F.pad(last.logits[image], (0, 1)).softmax(-1), outputs.softmax(-1))


def test_boxes_are_refined_and_a_prediction_trains_the_step_before():
    detector = tiny_detector("dab_detr", heads__share_layers=False).train()
    memory, queries = start(detector)
    outputs = detector.decoder(queries, memory, detector.heads)
    first, second = outputs
    assert not second.reference_boxes.requires_grad
    assert second.base_boxes.requires_grad
    torch.testing.assert_close(second.base_boxes, second.reference_boxes)
    assert not torch.equal(first.reference_boxes, second.reference_boxes)
    (last,) = detector.heads(outputs, queries.groups, last_only=True)
    last.boxes.sum().backward()
    assert detector.heads.box_heads[0].layers[2].weight.grad.any()


def test_a_box_without_extent_gives_finite_attention():
    detector = tiny_detector("dab_detr").eval()
    with torch.no_grad():
        detector.selection.anchors.weight[:, 2:] = -200.0  # a sigmoid of zero
        memory, queries = start(detector)
        outputs = detector.decoder(queries, memory, detector.heads)
    assert all(each.hidden.isfinite().all() for each in outputs)


def test_boxes_are_needed_for_a_modulated_attention():
    with pytest.raises(ValueError, match="give it a query_position"):
        DabDecoder(query_position=None, layer=None)
    with pytest.raises(ValueError, match="activation must be one of"):
        detr_decoder_layer(embed_dim=32, num_heads=4, activation="gelu")


@pytest.mark.parametrize("name", ["detr", "conditional_detr", "group_dn_dab_detr", "ms_dn_dab_detr"])
def test_all_attention_is_one_fused_function_with_padding_masked(name, monkeypatch):
    detector = tiny_detector(name).train()
    calls, plain = [], F.scaled_dot_product_attention

    def record(query, key, value, attn_mask=None, *rest, **named):
        calls.append((key.shape[-2], attn_mask))
        return plain(query, key, value, attn_mask, *rest, **named)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    memory, queries = start(detector, training=True)
    detector.decoder(queries, memory, detector.heads)
    tokens = memory.tokens.shape[1]
    over_tokens = [mask for length, mask in calls if length == tokens]
    assert len(over_tokens) == len(detector.encoder.layers) + len(detector.decoder.layers)
    assert len(calls) > len(over_tokens)
    for mask in over_tokens:
        seen = mask if mask.dtype == torch.bool else mask == 0
        for image in range(2):
            assert torch.equal(seen[image].broadcast_to(HEADS, seen.shape[-2], tokens)[0, 0], ~memory.padding[image])


def test_dn_detr_has_the_published_number_of_parameters():
    """43,472,577 trainable ones of the released dense model with 91 classes."""
    model = get_config("common/models/dn_dab_detr.py").model
    model.num_classes = 91
    built = build_on_meta(model)
    assert count_parameters(built).trainable == 43_472_577
    assert built.denoising.label_embed.weight.shape == (91, 255)
    assert built.selection.content.weight.shape == (1, 255)
    assert built.selection.anchors.weight.shape == (300, 4)
    assert built.decoder.size_head.layers[1].weight.shape == (2, 256)
    assert [layer.cross_attention.query_position is None for layer in built.decoder.layers] == [False] + [True] * 5
    slopes = {name for name, value in built.named_parameters() if name.endswith("ffn.activation.weight")}
    assert len(slopes) == 12
