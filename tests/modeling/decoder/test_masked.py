"""The decoder whose queries attend within their masks, beside its formulas with loops over heads and queries."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from querydet.modeling.decoder.masked import MaskedPyramid
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import padding_mask
from querydet.modeling.masks.level_maps import level_rows
from querydet.structures import ImageFeatures, QueryBatch, TokenPyramid
from tests.models import make_inputs, make_targets, tiny_detector

HEADS = 4
SIZES = [(96, 160), (64, 96)]


def start(detector: QueryDetector, sizes: list[tuple[int, int]] = SIZES) -> tuple[TokenPyramid, QueryBatch]:
    images = detector.preprocess(make_inputs(sizes))
    maps, padding = detector.backbone(images.tensor), detector.padding_of(padding_mask(images))
    projected = detector.neck(maps, padding)
    memory = detector.encoder(projected)
    memory = replace(memory, masks=detector.masks(ImageFeatures(maps, padding, projected, memory)))
    return memory, detector.compose_queries(detector.selection(memory, False), None)


def attention(weights, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None) -> Tensor:
    """A query's attention, head by head, from the raw weights of `torch.nn.MultiheadAttention`."""
    (wq, wk, wv), (bq, bk, bv) = weights.in_proj_weight.chunk(3), weights.in_proj_bias.chunk(3)
    query, key, value = query @ wq.T + bq, key @ wk.T + bk, value @ wv.T + bv
    mixed = []
    for q, k, v in zip(query.chunk(HEADS, -1), key.chunk(HEADS, -1), value.chunk(HEADS, -1), strict=True):
        scores = q @ k.T / math.sqrt(q.shape[-1])
        if blocked is not None:
            scores = scores.masked_fill(blocked, -math.inf)
        mixed.append(scores.softmax(-1) @ v)
    return weights.out_proj(torch.cat(mixed, -1))


@torch.no_grad()
def test_every_layer_by_its_formula() -> None:
    detector = tiny_detector("mask2former", decoder__num_layers=4).eval()
    decoder = detector.decoder
    memory, queries = start(detector)
    found = decoder(queries, memory, detector.heads)
    assert len(found) == decoder.num_layers == 5
    pyramid = decoder.pyramid(memory)
    for image in range(2):
        x, e = queries.content[image], queries.position[image]
        torch.testing.assert_close(found[0].hidden[image], decoder.norm(x))
        for index, layer in enumerate(decoder.layers):
            level = (2, 1, 0)[index % 3]
            rows = level_rows(memory, level)
            logits = memory.masks.resized(memory.shapes[level]).of_image(image, decoder.norm(x)).flatten(1)
            blocked = logits < 0
            blocked[blocked.all(1)] = False
            value = memory.tokens[image, rows] + decoder.level_embed.weight[level]
            key = value + pyramid.position[image, rows]
            x = layer.cross_attention_norm(x + attention(layer.cross_attention, x + e, key, value, blocked))
            x = layer.self_attention_norm(x + attention(layer.self_attention, x + e, x + e, x, None))
            x = layer.ffn(x)
            torch.testing.assert_close(found[index + 1].hidden[image], decoder.norm(x), atol=1e-5, rtol=1e-5)


def test_layers_visit_levels_from_coarse_to_fine_and_again() -> None:
    decoder = tiny_detector("mask2former", decoder__num_layers=7).decoder
    assert [layer.cross_attention.level for layer in decoder.layers] == [2, 1, 0, 2, 1, 0, 2]


class Blocks(torch.nn.Module):
    """Masks whose logit everywhere is the first number of the hidden state, but 1 where the second says so."""

    canvas = (8, 8)

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def of_batch(self, hidden: Tensor) -> Tensor:
        maps = hidden[..., :1].repeat(1, 1, self.tokens)
        return maps.scatter(2, hidden[..., 1:2].long(), hidden[..., 2:3])[..., None]


def pyramid_of(padding: list[bool], masks: Blocks) -> MaskedPyramid:
    tokens = torch.zeros(1, len(padding), 4)
    shapes = ((len(padding), 1),)
    return MaskedPyramid(tokens, tokens, torch.tensor([padding]), shapes, torch.ones(1, 1, 2), level_masks=(masks,))


@pytest.mark.parametrize(
    ("hidden", "padding", "wanted"),
    [
        ([-1, 1, 2, 0], [False] * 3, [True, False, True]),
        ([1, 1, -2, 0], [False] * 3, [False, True, False]),
        ([-1, 1, -2, 0], [False] * 3, [False] * 3),  # fully blocked: all are open
        ([-1, 1, 0, 0], [False] * 3, [True, False, True]),  # exactly 0 is not blocked
        ([-1, 1, -2, 0], [False, False, True], [False, False, True]),  # all but padding
        ([-1, 2, 5, 0], [False, False, True], [False, False, True]),  # only padding is positive
        ([1, 2, 5, 0], [False, False, True], [False, False, True]),
    ],
)
def test_blocked_tokens(hidden: list[float], padding: list[bool], wanted: list[bool]) -> None:
    decoder = tiny_detector("mask2former").decoder
    decoder.norm, decoder.num_levels = torch.nn.Identity(), 1
    found = decoder.blocked(pyramid_of(padding, Blocks(3)), torch.tensor([[hidden]]), 0)
    assert found.tolist() == [[wanted]]


def test_masks_block_without_a_gradient() -> None:
    """The hidden state of a layer gets none through the mask that it attends within."""
    detector = tiny_detector("mask2former").train()
    memory, queries = start(detector)
    outputs = detector.decoder(queries, memory, detector.heads)
    detector.masks.zero_grad()
    outputs[-1].hidden.sum().backward()
    assert all(parameter.grad is None for parameter in detector.masks.parameters())


@torch.no_grad()
def test_permuted_queries_have_permuted_outputs() -> None:
    detector = tiny_detector("mask2former").eval()
    memory, queries = start(detector)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    turned = QueryBatch(queries.content[:, order], queries.boxes[:, order], queries.position[:, order], queries.groups)
    found, wanted = (detector.decoder(each, memory, detector.heads)[-1].hidden for each in (turned, queries))
    torch.testing.assert_close(found, wanted[:, order], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_primary_group_alone_is_that_of_training() -> None:
    detector = tiny_detector("group_mask2former")
    images = detector.preprocess(make_inputs(SIZES))
    arguments = detector.backbone(images.tensor), detector.padding_of(padding_mask(images))
    trained = detector.train().predict(*arguments, make_targets([2, 1]))
    primary = next(each for each in trained if each.is_last and each.group.name == "primary")
    (alone,) = detector.eval().predict(*arguments)
    torch.testing.assert_close(alone.logits, primary.logits, atol=1e-5, rtol=1e-5)
    masks = [each.masks.of_batch(each.hidden) for each in (alone, primary)]
    torch.testing.assert_close(*masks, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_counts_like_the_image_where_the_detector_says_so() -> None:
    inputs = make_inputs([(64, 64), (64, 160)])
    changes = {}
    for padding_is_image in (True, False):
        own = {"neck__ignore_padding": True, "masks__head__ignore_padding": True}
        detector = tiny_detector("mask2former", padding_is_image=padding_is_image, **own).eval()
        (together, _), (alone,) = detector(inputs), detector(inputs[:1])
        sizes = [each["instances"].scores for each in (together, alone)]
        changes[padding_is_image] = (sizes[0] - sizes[1]).abs().max().item()
    # scores count pixels, and those beside the padding are interpolated with it
    assert changes[True] > 1e-3 > 2 * changes[False]


def test_activation_checkpointing_changes_neither_losses_nor_gradients() -> None:
    found = []
    for recompute in (False, True):
        detector = tiny_detector("group_mask2former", decoder__activation_checkpointing=recompute).train()
        losses = detector(make_inputs(SIZES, [3, 1]))
        sum(losses.values()).backward()
        found.append((losses, {name: parameter.grad for name, parameter in detector.named_parameters()}))
    for one, other in zip(*found, strict=True):
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, msg=name)


def test_rows_of_attention_maps() -> None:
    """Every layer keeps the maps of one level: of three levels, a third of the rows."""
    decoder = tiny_detector("mask2former", decoder__num_layers=6).decoder
    assert decoder.attention_rows(1000, 12) == 12 * 4 * 6 / 3
