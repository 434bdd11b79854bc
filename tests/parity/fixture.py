"""Recorded runs of the published implementations: reading them, and building our detector for them.

A fixture is ``<name>.npz`` (tensors) and ``<name>.json`` (configuration and remarks). Other fixtures of the same format
are tested by pointing the environment variable QUERYDET_PARITY_DIR to their folder.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from omegaconf import DictConfig
from torch import Tensor

from querydet.config import get_config
from querydet.detector import QueryDetector
from querydet.queries.noised_objects import NoiseDraws
from querydet.structures import Targets
from tests.parity.names import convert_state

FOLDER = Path(os.environ.get("QUERYDET_PARITY_DIR") or Path(__file__).parents[1] / "fixtures" / "parity")
SUPPORTED = ("deformable", "dino", "detrex_dino")


class NamedMaps(Backbone):
    """Stands for a backbone whose output is given."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.channels = dict(channels)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=count) for name, count in self.channels.items()}


@dataclass(frozen=True)
class Fixture:
    """One recorded case."""

    name: str
    description: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, name: str) -> "Fixture":
        description = json.loads((FOLDER / f"{name}.json").read_text())
        with np.load(FOLDER / f"{name}.npz") as archive:
            tensors = {key: torch.from_numpy(archive[key]) for key in archive.files}
        return cls(name, description, tensors)

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with the prefix, by the rest of their name."""
        return {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}

    @property
    def adapter(self) -> str:
        return self.description["adapter"]

    @property
    def config(self) -> dict[str, Any]:
        return self.description["config"]

    def features(self) -> dict[str, Tensor]:
        maps = self.group("feat/")
        return {f"map{level}": maps[level] for level in sorted(maps, key=int)}

    def eval_padding(self) -> Tensor:
        """detrex ignores padding at inference."""
        padding = self["in/pad_mask"]
        return torch.zeros_like(padding) if self.adapter.startswith("detrex") else padding

    def targets(self, which: str) -> Targets:
        """The objects of target set A, B or C; detrex saw them after a round trip through pixels."""
        prefix = f"train{which}/targets_seen/" if f"train{which}/targets_seen/0/boxes" in self else f"tgt{which}/"
        count = len(self["in/images"])
        labels = tuple(self[f"{prefix}{image}/labels"] for image in range(count))
        return Targets(
            labels=labels,
            boxes=tuple(self[f"{prefix}{image}/boxes"] for image in range(count)),
            names=tuple(f"image {image}" for image in range(count)),
            seeds=(None,) * count,
            mean_objects=float(sum(map(len, labels))),
            max_objects=max(map(len, labels)),
        )

    def draws(self, which: str, targets: Targets) -> NoiseDraws:
        """The recorded noise of a training pass, as (repetitions, objects) tables."""
        total = sum(targets.counts)
        recorded = [value for _, value in sorted(self.group(f"train{which}/rng/").items())]
        if not recorded or not total:
            empty = torch.zeros(2, 0, 4)
            return NoiseDraws(empty[..., 0], torch.zeros(2, 0, dtype=torch.int64), empty, empty)
        *label_draws, signs, magnitudes = recorded
        signs, magnitudes = (signs.float() * 2 - 1).view(-1, total, 4), magnitudes.view(-1, total, 4)
        replace = torch.ones(signs.shape[:2])
        labels = torch.zeros(signs.shape[:2], dtype=torch.int64)
        if label_draws:  # without label noise nothing is drawn for it
            replace = label_draws[0].view(-1, total)
            labels[replace < 0.5 * label_noise(self)] = label_draws[1]
        return NoiseDraws(replace=replace, labels=labels, signs=signs, magnitudes=magnitudes)

    def build(self) -> QueryDetector:
        """Our detector with the recorded configuration and weights."""
        channels = {name: value.shape[1] for name, value in self.features().items()}
        model = MODELS[self.adapter](self)
        model.neck.in_channels = channels
        model.backbone = L(NamedMaps)(channels=channels)
        _let_padding_in(model)
        detector = instantiate(model)
        state = convert_state(self.group("state/"), len(channels), len(detector.decoder.layers))
        detector.load_state_dict(state, strict=True)
        return detector


def _let_padding_in(model: DictConfig) -> None:
    """The released codes let the padding of a batch into the neck, the selection and the positional queries."""
    model.neck.ignore_padding = False
    if "usable_only" in model.selection:
        model.selection.usable_only = False
    if model.decoder.query_position is not None:
        model.decoder.query_position.frame = "padded"


def available() -> list[str]:
    """Names of the fixtures in the folder that our parts can express.

    Raises:
        FileNotFoundError: when there are none, as in a folder that was misspelt.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.json") if path.with_suffix(".npz").exists())
    supported = [name for name in names if _adapter(name) in SUPPORTED]
    if not supported:
        raise FileNotFoundError(f"{FOLDER} holds no fixture of {', '.join(SUPPORTED)}; set QUERYDET_PARITY_DIR anew")
    return supported


def unsupported() -> list[str]:
    """Names of the other fixtures in the folder."""
    names = sorted(path.stem for path in FOLDER.glob("*.json") if path.with_suffix(".npz").exists())
    return [name for name in names if _adapter(name) not in SUPPORTED]


def _adapter(name: str) -> str | None:
    return json.loads((FOLDER / f"{name}.json").read_text()).get("adapter")


def label_noise(fixture: Fixture) -> float:
    keys = ("dn_label_noise_ratio", "label_noise_ratio")
    return next(fixture.config[key] for key in keys if key in fixture.config)


def _set_layers(model: DictConfig, encoder: dict[str, Any], decoder: dict[str, Any]) -> None:
    for part, values in ((model.encoder, encoder), (model.decoder, decoder)):
        part.num_layers = values.pop("num_layers")
        part.layer.update(values)


def _set_losses(model: DictConfig, weights: dict[str, float], alpha: float = 0.25, gamma: float = 2.0) -> None:
    """Set every rule's weights from the recorded ones, which have to be equal for all layers of a rule."""
    for rule in model.criterion.rules:
        marks = (
            ("_enc", "_interm") if rule.stage == "encoder" else ("_dn",) if rule.get("role") == "denoising" else ("",)
        )
        for loss, names in zip(rule.losses, (("loss_ce", "loss_class"), ("loss_bbox",), ("loss_giou",)), strict=True):
            pattern = re.compile(rf"({'|'.join(names)})({'|'.join(marks)})(_\d+)?")
            found = {value for name, value in weights.items() if pattern.fullmatch(name)}
            if len(found) != 1:
                raise ValueError(f"weights {sorted(found)} for {names} of {rule.stage} layers: one rule has one weight")
            loss.weight = float(found.pop())
        rule.losses[0].update(alpha=alpha, gamma=gamma)
        if "alpha" in rule.assigner:
            rule.assigner.update(alpha=alpha, gamma=gamma)


def _official_layers(config: dict[str, Any], part: str) -> dict[str, Any]:
    return {
        "num_layers": config[f"{part}_layers"],
        "num_heads": config["nheads"],
        "num_points": config[f"{part}_n_points"],
        "ffn_dim": config["dim_feedforward"],
        "dropout": config["dropout"],
    }


def _set_official(model: DictConfig, fixture: Fixture) -> None:
    config = fixture.config
    model.num_classes = config["num_classes"]
    model.neck.embed_dim = config["hidden_dim"]
    model.neck.num_levels = config["num_feature_levels"]
    model.selection.num_queries = config["num_queries"]
    _set_layers(model, _official_layers(config, "enc"), _official_layers(config, "dec"))
    _set_losses(model, fixture.description["loss_weights"], config["focal_alpha"])
    for rule in model.criterion.rules[:2]:
        rule.assigner.class_weight = config["set_cost_class"]
        rule.assigner.l1_weight = config["set_cost_bbox"]
        rule.assigner.giou_weight = config["set_cost_giou"]


def _deformable(fixture: Fixture) -> DictConfig:
    config = fixture.config
    two_stage = config["two_stage"]
    model = get_config(f"common/models/deformable_detr{'' if two_stage else '_one_stage'}.py").model
    _set_official(model, fixture)
    model.decoder.refine_boxes = config["with_box_refine"]
    model.heads.share_layers = not config["with_box_refine"]
    if config.get("mixed_selection"):
        plus = get_config("common/models/deformable_detr_pp.py").model
        model.selection.content = plus.selection.content
    model.decoder.look_forward_twice = bool(config.get("look_forward_twice", False))
    model.postprocess.num_detections = config.get("topk_eval", 100)
    return model


def _dino(fixture: Fixture) -> DictConfig:
    config = fixture.config
    model = get_config("common/models/dino.py").model
    _set_official(model, fixture)
    embedding = model.neck.position_embedding
    embedding.temperature = float(config["pe_temperatureH"])
    model.decoder.look_forward_twice = not config["use_detached_boxes_dec_out"]
    if config["dec_pred_class_embed_share"] != config["dec_pred_bbox_embed_share"]:
        raise ValueError("dec_pred_{class,bbox}_embed_share differ: our heads are shared by all layers or not")
    model.heads.share_layers = config["dec_pred_class_embed_share"]
    model.denoising.num_queries = config["dn_number"]
    model.denoising.box_noise = config["dn_box_noise_scale"]
    model.denoising.label_noise = config["dn_label_noise_ratio"]
    model.denoising.num_classes = config["num_classes"]
    model.denoising.num_embeddings = config["dn_labelbook_size"] + 1
    model.postprocess.num_detections = config["num_select"]
    return model


def _detrex_dino(fixture: Fixture) -> DictConfig:
    config = fixture.config
    model = get_config("common/models/dino.py").model
    transformer, position = config["transformer"], config["position_embedding"]
    model.num_classes = config["num_classes"]
    model.neck.embed_dim = config["embed_dim"]
    model.neck.num_levels = transformer["num_feature_levels"]
    model.neck.position_embedding.temperature = float(position["temperature"])
    model.neck.position_embedding.offset = float(position["offset"])
    model.selection.num_queries = config["num_queries"]
    _set_layers(model, _detrex_layers(transformer["encoder"]), _detrex_layers(transformer["decoder"]))
    criterion = config["criterion"]
    _set_losses(model, fixture.description["loss_weights"], criterion["alpha"], criterion["gamma"])
    for rule in model.criterion.rules[:2]:
        rule.assigner.class_weight = criterion["matcher"]["cost_class"]
        rule.assigner.l1_weight = criterion["matcher"]["cost_bbox"]
        rule.assigner.giou_weight = criterion["matcher"]["cost_giou"]
    model.heads.share_layers = False
    model.denoising.num_queries = config["dn_number"]
    model.denoising.box_noise = config["box_noise_scale"]
    model.denoising.label_noise = config["label_noise_ratio"]
    model.denoising.num_embeddings = config["num_classes"]
    model.denoising.min_dynamic = 0
    model.postprocess.num_detections = config["select_box_nums_for_evaluation"]
    return model


def _detrex_layers(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "num_layers": config["num_layers"],
        "num_heads": config["num_heads"],
        "ffn_dim": config["feedforward_dim"],
        "dropout": config["ffn_dropout"],
    }


MODELS = {"deformable": _deformable, "dino": _dino, "detrex_dino": _detrex_dino}
