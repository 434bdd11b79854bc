"""Mask2Former, also with groups of queries, computes what its official modules recorded."""

import copy
import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from querydet.checkpoint.conversion.revert import revert_state_dict
from querydet.modeling.detector import QueryDetector
from querydet.modeling.masks.level_maps import level_map
from querydet.structures import ImageFeatures, PredictionSet, Targets, TokenPyramid
from tests.parity.fixture import Fixture, recordings
from tests.parity.models_mask2former import (
    LOSSES,
    RecordedDraws,
    build,
    detections_by_pair,
    near_threshold,
    with_masks,
)
from tests.parity.test_parity import FORWARD, GRADIENT, TARGETS, assert_close, sorted_pairs

NAMES = recordings("mask2former")
pytestmark = pytest.mark.skipif(not NAMES, reason="no fixture of Mask2Former in QUERYDET_PARITY_DIR")


@cache
def load(name: str) -> Fixture:
    return Fixture.load(name)


@cache
def built(name: str) -> QueryDetector:
    return build(load(name))


@pytest.fixture(params=NAMES)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return load(request.param)


@pytest.fixture(params=TARGETS)
def which(request: pytest.FixtureRequest, fixture: Fixture) -> str:
    if f"train{request.param}/total" not in fixture:
        pytest.skip(f"{fixture.name} has no target set {request.param}")
    return request.param


def padding_of(fixture: Fixture) -> Tensor:
    """The released model takes padding for image."""
    return torch.zeros_like(fixture["in/pad_mask"])


def encoded(detector: QueryDetector, fixture: Fixture) -> tuple[TokenPyramid, TokenPyramid]:
    """Features before and after the encoder, the latter with the masks of the batch."""
    features, padding = fixture.features(), padding_of(fixture)
    projected = detector.neck(features, padding)
    memory = detector.encoder(projected)
    return projected, replace(memory, masks=detector.masks(ImageFeatures(features, padding, projected, memory)))


@cache
@torch.no_grad()
def evaluated(name: str) -> tuple[dict[int, Tensor], dict[int, Tensor], tuple[PredictionSet, ...]]:
    """Contents before and blocked pairs of each decoder layer, and all predictions, in evaluation."""
    detector, fixture = copy.deepcopy(built(name)).eval(), load(name)
    contents, blocked = {}, {}
    original = detector.decoder.blocked

    def blocked_and_kept(memory: Any, content: Tensor, layer: int) -> Tensor:
        contents[layer], blocked[layer] = content, original(memory, content, layer)
        return blocked[layer]

    detector.decoder.blocked = blocked_and_kept
    _, memory = encoded(detector, fixture)
    queries = detector.compose_queries(detector.selection(memory, training=False), None)
    outputs = detector.decoder(queries, memory, detector.heads)
    predictions = detector.heads(outputs, queries.groups, last_only=False)
    return contents, blocked, detector.masks.attach(predictions, memory.masks)


def recorded_levels(pyramid: TokenPyramid, tokens: Tensor) -> list[Tensor]:
    """Maps of tokens in the recorded order, coarse to fine."""
    return [level_map(pyramid, tokens, level, False) for level in reversed(range(len(pyramid.shapes)))]


@torch.no_grad()
def test_pixel_decoder(fixture: Fixture) -> None:
    detector = built(fixture.name).eval()
    outputs: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        for layer in detector.encoder.layers
    ]
    projected, memory = encoded(detector, fixture)
    for hook in hooks:
        hook.remove()
    for layer, tokens in fixture.group("eval/mid/enc_layer").items():
        maps = recorded_levels(memory, outputs[int(layer)])
        assert_close(torch.cat([each.flatten(2) for each in maps], 2).transpose(1, 2), tokens, FORWARD, layer)
    for kind, pyramid in (("input_proj", projected), ("multi_scale", memory)):
        for level, wanted in fixture.group(f"eval/mid/{kind}/").items():
            assert_close(recorded_levels(pyramid, pyramid.tokens)[int(level)], wanted, FORWARD, f"{kind} {level}")
    assert_close(memory.masks.pixels, fixture["eval/mid/mask_features"], FORWARD, "pixels")


def test_attention_masks(fixture: Fixture) -> None:
    _, blocked, _ = evaluated(fixture.name)
    recorded = fixture.group("eval/mid/attn_mask/")
    assert set(recorded) == {str(layer) for layer in blocked}
    for layer, pairs in blocked.items():
        assert torch.equal(pairs, recorded[str(layer)]), layer
        assert not pairs.all(2).any(), "a query that may attend nowhere"
    opened = fixture["eval/mid/all_masked_rows"]
    for layer, pairs in blocked.items():
        open_rows = (~pairs).all(2).sum(1)
        assert bool((open_rows >= opened[layer]).all()), layer


@torch.no_grad()
def test_predictions_of_all_layers(fixture: Fixture) -> None:
    contents, _, predictions = evaluated(fixture.name)
    assert len(predictions) == fixture.config["dec_layers"]
    for layer, content in contents.items():
        if f"eval/mid/dec_layer{layer - 1}/out" in fixture:
            assert_close(content, fixture[f"eval/mid/dec_layer{layer - 1}/out"], FORWARD, f"layer {layer}")
    for each in predictions:
        prefix = "eval/" if each.is_last else f"eval/aux{each.layer}/"
        assert_predicted(each, slice(None), prefix, fixture)


def assert_predicted(predictions: PredictionSet, rows: slice, prefix: str, fixture: Fixture) -> None:
    """Compare what was recorded of a set; the recorded logits have an output for no object."""
    if prefix + "pred_logits" in fixture:
        wanted = fixture[prefix + "pred_logits"][:, rows]
        assert_close(predictions.logits, wanted[..., :-1] - wanted[..., -1:], FORWARD, prefix + "logits")
    if prefix + "pred_masks" in fixture:
        masks = predictions.masks.of_batch(predictions.hidden)
        assert_close(masks, fixture[prefix + "pred_masks"][:, rows], FORWARD, prefix + "masks")


@torch.no_grad()
def test_detections(fixture: Fixture) -> None:
    detector = built(fixture.name).eval()
    (last,) = detector.predict(fixture.features(), padding_of(fixture))
    last = detector.masks.attach((last,), encoded(detector, fixture)[1].masks)[0]
    images = [tuple(size) for size in fixture["in/sizes"].tolist()]
    best = detector.postprocess(last.logits, last.boxes, [tuple(size) for size in fixture["in/orig_sizes"].tolist()])
    class_scores = [each.scores for each in best]
    for image, found in enumerate(detector.masks.add_masks(best, last, images)):
        recorded = fixture.group(f"eval/post/{image}/")
        assert_close(class_scores[image], recorded["class_scores"].sort(descending=True).values, FORWARD, "classes")
        ours = detections_by_pair(found.pred_classes, found.query_indices)
        theirs = detections_by_pair(recorded["labels"], recorded["queries"])
        assert set(ours) == set(theirs)
        order = torch.tensor([ours[pair] for pair in theirs])
        flipped = int((found.pred_masks[order] != recorded["masks"]).sum())
        assert flipped <= near_threshold(fixture, image)
        assert_close(found.scores[order], recorded["scores"], FORWARD, "scores")
        assert bool((found.scores.diff() <= 0).all())


@cache
@torch.enable_grad()
def trained(name: str, which: str) -> tuple[QueryDetector, dict[str, Tensor], tuple[PredictionSet, ...], Targets, dict]:
    """A recorded training pass: detector, features with gradients, predictions, objects and losses."""
    fixture, detector = load(name), copy.deepcopy(built(name)).train()
    draws = RecordedDraws(fixture, which)
    targets = with_masks(fixture, which, draws)
    features = {key: value.clone().requires_grad_() for key, value in fixture.features().items()}
    predictions = detector.predict(features, padding_of(fixture), targets)
    draws.follow(predictions)
    return detector, features, predictions, targets, detector.criterion(predictions, targets)


def groups_of(predictions: tuple[PredictionSet, ...]) -> list[str]:
    return list(dict.fromkeys(each.group.name for each in predictions))


@torch.no_grad()
def test_training_predictions(fixture: Fixture, which: str) -> None:
    _, _, predictions, _, _ = trained(fixture.name, which)
    alone = {each.layer: each for each in evaluated(fixture.name)[2]}
    for each in predictions:
        prefix = f"train{which}/out/" if each.is_last else f"train{which}/out/aux{each.layer}/"
        assert_predicted(each, each.group.rows, prefix, fixture)
        if each.group.start == 0:
            assert_close(each.logits, alone[each.layer].logits, FORWARD, "the primary group alone")


def place(predictions: PredictionSet, groups: list[str]) -> str:
    """Where the recording has matches and costs of a set."""
    group = f"group{groups.index(predictions.group.name)}/" if len(groups) > 1 else ""
    return group + ("final" if predictions.is_last else f"aux{predictions.layer}")


@torch.no_grad()
def test_costs_and_matches(fixture: Fixture, which: str) -> None:
    detector, _, predictions, targets, _ = trained(fixture.name, which)
    assigner = detector.criterion.rules["decoder"].assigner
    groups = groups_of(predictions)
    for each in predictions:
        where = place(each, groups)
        (flat,) = assigner.compute([each], targets)
        sizes = [count * len(each.group) for count in targets.counts]
        for image, costs in enumerate(flat.split(sizes)):
            name = f"train{which}/cost/{where}/{image}"
            if name in fixture:
                assert_close(costs.view(targets.counts[image], len(each.group)).T, fixture[name], FORWARD, name)
        for image, assignment in enumerate(assigner(each, targets)):
            recorded = fixture[f"train{which}/match/{where}/{image}"]
            assert sorted_pairs(assignment) == sorted(map(tuple, recorded.T.tolist())), (where, image)


def theirs(name: str) -> str:
    return name.replace("loss_class", LOSSES["class"])


def assert_losses(losses: dict[str, Tensor], recorded: dict[str, Tensor], factor: Any) -> None:
    assert {theirs(name) for name in losses} == set(recorded)
    for name, value in losses.items():
        wanted = recorded[theirs(name)].item() * factor(theirs(name))
        assert abs(value.item() - wanted) <= FORWARD * max(abs(wanted), 1e-2), name


def test_losses(fixture: Fixture, which: str) -> None:
    detector, _, predictions, targets, losses = trained(fixture.name, which)
    weights = fixture.description["loss_weights"]
    assert_losses(losses, fixture.group(f"train{which}/wloss/"), lambda name: 1.0)
    assert_losses(
        losses,
        {name: value for name, value in fixture.group(f"train{which}/loss/").items() if "/" not in name},
        weights.__getitem__,
    )
    total = fixture[f"train{which}/total"].item()
    assert abs(sum(losses.values()).item() - total) <= FORWARD * abs(total)
    groups = groups_of(predictions)
    for index, group in enumerate(groups):
        recorded = fixture.group(f"train{which}/loss/group{index}/")
        if recorded:
            alone = detector.criterion([each for each in predictions if each.group.name == group], targets)
            assert_losses(alone, recorded, lambda name: weights[name] / len(groups))


def test_gradients(fixture: Fixture, which: str) -> None:
    detector, features, _, _, losses = trained(fixture.name, which)
    detector.zero_grad()
    sum(losses.values()).backward(retain_graph=True)
    parameters = dict(detector.named_parameters())
    missing = [name for name, value in parameters.items() if value.grad is None]
    assert not missing, "every parameter gets a gradient, or training on several processes hangs"
    found = revert_state_dict({name: value.grad for name, value in parameters.items()}, fixture.config["nheads"])
    for name, wanted in fixture.group(f"train{which}/grad/").items():
        assert_close(found[name], wanted, GRADIENT, name)
    for level, wanted in fixture.group(f"train{which}/grad_feat/").items():
        assert_close(features[f"map{level}"].grad, wanted, GRADIENT, f"backbone map {level}")
    norms = fixture[f"train{which}/grad_norms"]
    for name, wanted in zip(fixture.description["grad_norm_names"], norms.tolist(), strict=True):
        norm = found[name].norm().item()
        assert abs(norm - wanted) <= GRADIENT * wanted + 1e-5 * norms.max().item(), (name, norm, wanted)


RECORDED = re.compile(
    r"(in|state|feat|feat_mask|tgt[ABC])/.+"
    r"|eval/((aux\d+/)?pred_(logits|masks)|post/\d+/(class_scores|labels|masks|queries|scores))"
    r"|eval/mid/(all_masked_rows|mask_features|(attn_mask|input_proj|multi_scale)/\d+|enc_layer\d+|dec_layer\d+/out)"
    r"|train[ABC]/(total|grad_norms|(grad|grad_feat|wloss|rng)/.+|out/(aux\d+/)?pred_(logits|masks))"
    r"|train[ABC]/(loss/(group\d+/)?loss_\w+|(cost|match)/(group\d+/)?(final|aux\d+)/\d+)"
)


def test_every_recorded_tensor_has_a_meaning(fixture: Fixture) -> None:
    assert [name for name in fixture.tensors if not RECORDED.fullmatch(name)] == []


def test_an_option_that_nothing_reads_is_an_error(fixture: Fixture) -> None:
    for where in ("config", "fixture_cfg"):
        description = copy.deepcopy(fixture.description)
        description[where] = {**(description.get(where) or {}), "an_option_of_mine": 3}
        with pytest.raises(KeyError, match="an_option_of_mine"):
            build(Fixture(fixture.name, description, fixture.tensors))


def test_widths_that_the_parts_do_not_have_are_an_error(fixture: Fixture) -> None:
    description = copy.deepcopy(fixture.description)
    description["config"]["conv_dim"] = 2 * description["config"]["hidden_dim"]
    with pytest.raises(KeyError, match="cannot express conv_dim"):
        build(Fixture(fixture.name, description, fixture.tensors))
