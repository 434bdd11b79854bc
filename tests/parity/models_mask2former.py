"""Mask2Former in the recorded configurations, with recorded weights, objects and random points."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor

from querydet.checkpoint.conversion.convert import convert_state_dict
from querydet.checkpoint.conversion.methods import order_levels, split_table
from querydet.checkpoint.conversion.verify import GivenMaps
from querydet.config import get_config
from querydet.mask_structures import ObjectMasks, PointDraws
from querydet.modeling.detector import QueryDetector
from querydet.structures import PredictionSet, Targets
from tests.parity.fixture import Fixture
from tests.parity.options import RecordedConfig, check_all_read, check_recording

GENERATOR = ("mask_bias", "mask_scale")  # of the random weights, which are recorded
LOSSES = {"class": "loss_ce", "mask": "loss_mask", "dice": "loss_dice"}


def build(fixture: Fixture) -> QueryDetector:
    """Our detector with the recorded configuration and weights."""
    config = fixture.config
    check_recording(fixture.description.get("fixture_cfg") or {})
    conversion = convert_state_dict(fixture.group("state/"))
    order_levels(conversion, config["nheads"])
    split_table(conversion, {"num_queries": config["num_queries"]})
    detector = instantiate(_model(fixture))
    detector.load_state_dict(conversion.state, strict=True)
    return detector


def _model(fixture: Fixture) -> DictConfig:
    config = fixture.config
    groups = config["groups"]
    model = get_config(f"common/models/{'group_' if groups > 1 else ''}mask2former.py").model
    model.num_classes = config["num_classes"]
    model.neck.embed_dim = model.masks.head.embed_dim = config["hidden_dim"]
    model.neck.num_levels = len(config["feat_channels"]) - 1
    _set_maps(model, fixture)
    if config["conv_dim"] != config["hidden_dim"]:
        raise KeyError(f"cannot express conv_dim={config['conv_dim']} beside hidden_dim={config['hidden_dim']}")
    model.masks.head.mask_dim = config["mask_dim"]
    model.encoder.num_layers = config["enc_layers"]
    model.encoder.layer.update(num_heads=config["nheads"], ffn_dim=config["enc_ffn"])
    model.decoder.num_layers = config["dec_layers"] - 1  # the prediction of the learned queries counts as one
    model.decoder.layer.update(num_heads=config["nheads"], ffn_dim=config["dim_feedforward"])
    if groups > 1:
        model.selection.num_groups = groups
    (model.selection.selection if groups > 1 else model.selection).num_queries = config["num_queries"]
    _set_rule(model.criterion.rules.decoder, config, fixture.description["loss_weights"])
    model.postprocess.num_detections = config["topk"]
    check_all_read(config, GENERATOR)
    return model


def _set_maps(model: DictConfig, fixture: Fixture) -> None:
    channels = {name: value.shape[1] for name, value in fixture.features().items()}
    if list(channels.values()) != list(fixture.config["feat_channels"]):
        raise KeyError(f"feat_channels={fixture.config['feat_channels']}, but the maps have {channels}")
    finest, *others = channels
    model.backbone = L(GivenMaps)(channels=channels)
    model.neck.in_channels = {name: channels[name] for name in others}
    model.masks.head.in_channels = {finest: channels[finest]}


def _set_rule(rule: DictConfig, config: RecordedConfig, weights: dict[str, float]) -> None:
    found = {ours: one_weight(weights, theirs) for ours, theirs in LOSSES.items()}
    for ours, weight in found.items():
        rule.losses[ours].weight = weight
    rule.losses["class"].background = config["no_object_weight"]
    for name in ("mask", "dice"):
        rule.losses[name].update(
            num_points=config["num_points"],
            oversampling=config["oversample_ratio"],
            importance=config["importance_sample_ratio"],
        )
    rule.assigner.class_weight = found["class"]  # the released code has the same weights for both
    rule.assigner.mask_cost.update(
        num_points=config["num_points"], mask_weight=found["mask"], dice_weight=found["dice"]
    )


def one_weight(weights: dict[str, float], name: str) -> float:
    """The weight of a loss, which has to be equal for all predictions."""
    found = {value for key, value in weights.items() if key.rstrip("0123456789").rstrip("_") == name}
    if len(found) != 1:
        raise ValueError(f"weights {sorted(found)} of {name}: one rule has one weight")
    return float(found.pop())


def with_masks(fixture: Fixture, which: str, draws: PointDraws) -> Targets:
    """The recorded objects of a target set with their masks, each of its own size."""
    targets = fixture.targets(which)
    masks = [fixture[f"tgt{which}/{image}/masks"] for image in range(len(targets.labels))]
    sizes = torch.tensor([each.shape[1:] for each in masks for _ in each], dtype=torch.int64).view(-1, 2)
    areas = sizes.prod(1)
    height, width = fixture["in/pad_mask"].shape[1:]
    objects = ObjectMasks(
        pixels=torch.cat([each.flatten() for each in masks]).bool(),
        starts=areas.cumsum(0) - areas,
        sizes=sizes,
        canvas=(height, width),
        draws=draws,
    )
    return replace(targets, masks=objects)


class RecordedDraws:
    """The points that the released code drew.

    For each group, prediction (the last one first) and image those of the matcher, and after the images of a prediction
    candidates and random points of all pairs. Without objects nothing is recorded, and nothing depends on the points.
    """

    def __init__(self, fixture: Fixture, which: str) -> None:
        drawn = fixture.group(f"train{which}/rng/")
        self.recorded = [drawn[name] for name in sorted(drawn)]
        self.counts = [len(fixture[f"tgt{which}/{image}/labels"]) for image in range(len(fixture["in/pad_mask"]))]
        self.turns: dict[str, tuple[int, int]] = {}

    def follow(self, predictions: Sequence[PredictionSet]) -> None:
        """Learn the order of prediction sets: each has a turn, and a number of queries."""
        groups = list(dict.fromkeys(each.group.name for each in predictions))
        layers = len(predictions) // len(groups)
        for each in predictions:
            turn = groups.index(each.group.name) * layers + (0 if each.is_last else 1 + each.layer)
            self.turns[each.describe()] = (turn, len(each.group))

    def __call__(self, purpose: str, predictions: str, image: int, rows: int, count: int) -> Tensor:
        """The recorded points (rows, count, 2)."""
        if not self.recorded:
            return torch.zeros(rows, count, 2)
        turn, queries = self.turns[predictions]
        first = turn * (len(self.counts) + 2)
        if purpose == "matching":
            points = self.recorded[first + image]
        else:
            matched = [min(objects, queries) for objects in self.counts]
            start = sum(matched[:image])
            place = first + len(self.counts) + ("candidates", "extra").index(purpose)
            points = self.recorded[place][start : start + matched[image]]
        assert points.shape == (rows, count, 2), (purpose, predictions, points.shape)
        return points


def detections_by_pair(labels: Tensor, queries: Tensor) -> dict[tuple[int, int], int]:
    """Places of detections by query and label, which no two share."""
    pairs = list(zip(queries.tolist(), labels.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return {pair: place for place, pair in enumerate(pairs)}


def near_threshold(fixture: Fixture, image: int) -> int:
    """Number of recorded mask pixels of an image that other kernels may flip; in some recordings of all images."""
    found: Any = fixture.description["stability"].get("post_logits_below_1e4", 0)
    return found[image] if isinstance(found, list) else found
