"""Group DETR on Conditional DETR against recordings of its official code and of detrex's port.

The port is known to be wrong in training: its queries attend to those of all groups, and the result is added to the
wrong queries. There the paper's definition is tested instead. That both evaluations are computed is tested with
the other converted recordings.
"""

import argparse
from functools import cache

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from torch import Tensor

from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.conversion.verify import GivenMaps
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.decoder.group_attention import plan_attention
from querydet.modeling.detector import QueryDetector
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.modeling.normalizers import MeanRepeatedObjects
from querydet.modeling.selection.grouped import group_name
from querydet.structures import PredictionSet, QueryGroup, Stage
from tests.parity.fixture import Fixture, parameters, recordings
from tests.parity.models import set_costs, set_losses
from tests.parity.test_parity import FORWARD, GRADIENT, assert_close

NO_GRADIENT = 1e-6  # of the largest one: rounding, in float32


@cache
def load(name: str) -> Fixture:
    return Fixture.load(name)


def groups_of(fixture: Fixture) -> list[QueryGroup]:
    config = fixture.config
    count = config["group_detr"] if "group_detr" in config else config["group_nums"]
    size = config["num_queries"]
    return [QueryGroup(group_name(k), k * size, (k + 1) * size, loss_divisor=count) for k in range(count)]


def rule_of(fixture: Fixture) -> SupervisionRule:
    config, weights = fixture.config, fixture.description["loss_weights"]
    costs, gamma, eps = config, 2.0, 0.0
    if fixture.adapter.startswith("detrex"):
        criterion = config["criterion"]
        costs = {f"set_{key}": value for key, value in criterion["matcher"].items()}
        costs["focal_alpha"], gamma, eps = criterion["alpha"], criterion["gamma"], 1e-6
    return SupervisionRule(
        stage="decoder",
        assigner=HungarianAssigner(
            class_weight=costs["set_cost_class"],
            l1_weight=costs["set_cost_bbox"],
            giou_weight=costs["set_cost_giou"],
            giou_eps=eps,
        ),
        losses={
            "class": FocalLoss(
                weight=weights.get("loss_ce", weights.get("loss_class")), alpha=costs["focal_alpha"], gamma=gamma
            ),
            "l1": L1Loss(weight=weights["loss_bbox"]),
            "giou": GIoULoss(weight=weights["loss_giou"], eps=eps),
        },
        normalizer=MeanRepeatedObjects(),
    )


def predictions_of(fixture: Fixture, which: str) -> dict[str, list[PredictionSet]]:
    """Recorded outputs of each layer, as the prediction sets of the groups."""
    prefix = f"train{which}/out/"
    layers = sum(1 for name in fixture.group(prefix) if name.endswith("pred_logits"))
    found = {}
    for layer in range(layers):
        last = layer == layers - 1
        where = prefix if last else f"{prefix}aux{layer}/"
        logits, boxes = fixture[where + "pred_logits"], fixture[where + "pred_boxes"]
        found["final" if last else f"aux{layer}"] = [
            PredictionSet(
                stage=Stage.DECODER,
                layer=layer,
                is_last=last,
                group=group,
                logits=logits[:, group.rows],
                boxes=boxes[:, group.rows],
                start_boxes=boxes[:, group.rows],
            )
            for group in groups_of(fixture)
        ]
    return found


ALL = [*recordings("group_detr_official"), *recordings("detrex_group_detr")]


@pytest.mark.parametrize("which", ["A", "B", "C"])
@pytest.mark.parametrize("name", parameters(ALL))
def test_matching_and_losses_follow_from_the_recorded_outputs(name: str, which: str) -> None:
    fixture = load(name)
    if f"train{which}/out/pred_logits" not in fixture:
        pytest.skip(f"{name} has no outputs for target set {which}")
    rule, targets = rule_of(fixture), fixture.targets(which)
    losses: dict[str, Tensor] = {}
    for layer, sets in predictions_of(fixture, which).items():
        per_group = [rule.assigner(each, targets) for each in sets]
        for image in range(len(targets.labels)):
            pairs = [
                torch.stack([found[image].queries + each.group.start, found[image].objects])
                for found, each in zip(per_group, sets, strict=True)
            ]
            assert torch.equal(torch.cat(pairs, dim=1), fixture[f"train{which}/match/{layer}/{image}"])
        losses |= rule(sets, targets)
    recorded = {
        name.replace("loss_ce", "loss_class").replace("loss_bbox", "loss_l1"): value
        for name, value in fixture.group(f"train{which}/wloss/").items()
    }
    assert set(losses) == set(recorded)
    for key, value in recorded.items():
        assert_close(losses[key], value, FORWARD, key)
    assert_close(sum(losses.values()), fixture[f"train{which}/total"], FORWARD, "total")


@pytest.mark.parametrize("name", parameters(recordings("group_detr_official")))
def test_evaluation_is_group_zero_of_training_in_the_official_code(name: str) -> None:
    fixture = load(name)
    for layer, (primary, *_) in predictions_of(fixture, "A").items():
        where = "eval/" if layer == "final" else f"eval/{layer}/"
        assert_close(primary.logits, fixture[where + "pred_logits"], FORWARD, layer)
        assert_close(primary.boxes, fixture[where + "pred_boxes"], FORWARD, layer)


class PortedAttention:
    """The self-attention of a layer of detrex's port, by its recorded weights."""

    def __init__(self, fixture: Fixture, layer: int) -> None:
        self.weights = fixture.group(f"state/transformer.decoder.layers.{layer}.attentions.0.")
        self.heads = fixture.config["transformer"]["decoder"]["num_heads"]
        self.position = fixture["state/query_embed.weight"]

    def linear(self, name: str, values: Tensor) -> Tensor:
        return values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def attend(self, position: Tensor, content: Tensor, blocked: Tensor | None = None) -> Tensor:
        """Attention of queries (b, n, C) with their positions among themselves."""
        query, key = (
            self.linear(f"{name}_content_proj", content) + self.linear(f"{name}_pos_proj", position)
            for name in ("query", "key")
        )
        query, key, value = (
            values.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for values in (query, key, self.linear("value_proj", content))
        )
        mask = None if blocked is None else ~blocked
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.linear("out_proj", mixed.transpose(1, 2).flatten(2))

    def __call__(self, content: Tensor, groups: list[QueryGroup]) -> Tensor:
        """What the paper says: separate self-attention of the groups, added to the content (B, Q, C)."""
        position = self.position[: content.shape[1]].expand_as(content)
        return content + plan_attention(groups, content.device).apply(self.attend, position, content)


@pytest.mark.parametrize("name", parameters(recordings("detrex_group_detr")))
def test_separate_attention_by_definition_where_the_port_is_wrong(name: str) -> None:
    fixture = load(name)
    groups = groups_of(fixture)
    primary, count = groups[0], len(groups)
    # from the second layer on: in the first, all contents are zero and all values equal
    for layer in range(1, fixture.config["transformer"]["decoder"]["num_layers"]):
        attention = PortedAttention(fixture, layer)
        entering, leaving = f"mid/dec_layer{layer - 1}/out", f"mid/dec_layer{layer}/self_attn_out"
        alone, all_groups = fixture[f"eval/{entering}"], fixture[f"trainA/{entering}"]
        wanted = fixture[f"eval/{leaving}"]
        assert_close(attention(alone, [primary]), wanted, FORWARD, "one group, as in evaluation")
        beside_others = torch.cat([alone, all_groups[:, primary.stop :]], dim=1)
        found = attention(beside_others, groups)[:, primary.rows]
        assert_close(found, wanted, FORWARD, "the same group beside the others")

        # what the port computes in training: attention among all queries, whose rows are then interleaved
        mixed = attention.attend(attention.position.expand_as(all_groups), all_groups)
        interleaved = mixed.unflatten(1, (count, -1)).transpose(1, 2).flatten(1, 2)
        recorded = fixture[f"trainA/{leaving}"]
        assert_close(all_groups + interleaved, recorded, FORWARD, "the port in training")
        assert (attention(all_groups, groups) - recorded).abs().max() > 10 * FORWARD * recorded.abs().max()


def detector_of(fixture: Fixture) -> QueryDetector:
    """Our detector in the config that is chosen for the recorded weights, without dropout, in training mode."""
    content = {"model": fixture.group("state/"), "args": argparse.Namespace(**fixture.config)}
    converted = convert_content(content)
    model = converted.fit.cfg.model
    model.backbone = L(GivenMaps)(channels=dict(model.neck.in_channels))
    model.encoder.layer.dropout = model.decoder.layer.dropout = 0.0
    set_losses(model, fixture.description["loss_weights"], fixture.config["focal_alpha"])  # a file is for inference
    set_costs(model, fixture.config)
    detector = instantiate(model).train()
    detector.load_state_dict(converted.state, strict=True)
    return detector


@pytest.mark.parametrize("which", ["A", "B", "C"])
@pytest.mark.parametrize("name", parameters(recordings("group_detr_official")))
def test_training_computes_what_the_official_code_does(name: str, which: str) -> None:
    fixture = load(name)
    if f"train{which}/total" not in fixture:
        pytest.skip(f"{name} has no target set {which}")
    detector, targets = detector_of(fixture), fixture.targets(which)
    features = {"map0": fixture["feat/0"].clone().requires_grad_()}
    predictions = detector.predict(features, fixture["in/pad_mask"], targets)
    recorded_sets = predictions_of(fixture, which) if f"train{which}/out/pred_logits" in fixture else {}
    for layer, sets in recorded_sets.items():
        found = [each for each in predictions if ("final" if each.is_last else f"aux{each.layer}") == layer]
        for ours, recorded in zip(found, sets, strict=True):
            assert_close(ours.logits, recorded.logits, FORWARD, f"{layer} {ours.group.name} logits")
            assert_close(ours.boxes, recorded.boxes, FORWARD, f"{layer} {ours.group.name} boxes")
    losses = detector.criterion(predictions, targets)
    for theirs, value in fixture.group(f"train{which}/wloss/").items():
        ours_name = theirs.replace("loss_ce", "loss_class").replace("loss_bbox", "loss_l1")
        assert_close(losses[ours_name], value, FORWARD, theirs)
    total = sum(losses.values())
    assert_close(total, fixture[f"train{which}/total"], FORWARD, "total")
    total.backward()
    parameters = dict(detector.named_parameters())
    gradients = fixture.group(f"train{which}/grad/")
    largest = max((float(value.abs().max()) for value in gradients.values()), default=0.0)
    groups = [parameters[f"selection.extra_groups.{k}.weight"] for k in range(len(groups_of(fixture)) - 1)]
    for theirs, wanted in gradients.items():
        ours_name = fixture.our_name(theirs)
        tables = [parameters[ours_name], *(groups if theirs == "query_embed.weight" else [])]
        found = torch.cat([each.grad for each in tables])
        if wanted.abs().max() < NO_GRADIENT * largest:  # of a weight that the loss does not depend on
            assert found.abs().max() < NO_GRADIENT * largest, theirs
        else:
            assert_close(found, wanted, GRADIENT, theirs)
    if gradients:
        assert_close(features["map0"].grad, fixture[f"train{which}/grad_feat/0"], GRADIENT, "backbone map")
