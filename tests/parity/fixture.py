"""Recorded runs, and building our detector for them.

A fixture is ``<name>.npz`` (tensors) and ``<name>.json`` (configuration and remarks), of a published implementation.
Other fixtures of the same format are tested by pointing the environment variable QUERYDET_PARITY_DIR to their folder.
Fixtures of our own configurations are computed by oracles when a test asks for them.
"""

import copy
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor

from querydet.checkpoint.conversion.convert import convert_state_dict, find_sizes, recognise
from querydet.checkpoint.conversion.methods import split_table
from querydet.checkpoint.conversion.verify import GivenMaps
from querydet.modeling.decoder.dense import DenseDecoder
from querydet.modeling.detector import QueryDetector
from querydet.modeling.queries.noised_objects import NoiseDraws
from querydet.structures import ObjectCount, Targets
from tests.parity import (
    models,
    models_align_detr,
    models_dac_detr,
    models_deta,
    models_dn_detr,
    models_h_detr,
    models_ms_detr,
)
from tests.parity.draws import split_draws
from tests.parity.options import RecordedConfig, check_recording
from tests.parity.own_configurations import configurations
from tests.parity.own_recordings import record

FIRST = 2  # of a method's own configurations that are tested by default
FOLDER = Path(os.environ.get("QUERYDET_PARITY_DIR") or Path(__file__).parents[1] / "fixtures" / "parity")
ADAPTERS = (models, models_align_detr, models_dac_detr, models_deta, models_dn_detr, models_h_detr, models_ms_detr)
DENSE = ("group_detr_official", "detrex_group_detr")  # of a method whose test builds the model itself
MASKS = ("mask2former", "mask_head")  # of masks, whose tests build the model or the head themselves
MODELS = {name: build for each in ADAPTERS for name, build in each.MODELS.items()}  # compositions, by adapter


@dataclass(frozen=True)
class Fixture:
    """One recorded case."""

    name: str
    description: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, name: str) -> "Fixture":
        if name in configurations():
            return cls(name, *record(name))
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

    @cached_property
    def config(self) -> RecordedConfig:
        return RecordedConfig(self.description["config"])

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
            step=ObjectCount(tuple(map(len, labels))),
        )

    def draws(self, which: str, targets: Targets) -> list[NoiseDraws]:
        """The recorded noise of each image of a training pass."""
        if self.adapter in models_dn_detr.MODELS:
            return models_dn_detr.recorded_draws(self, which, targets)
        total = sum(targets.counts)
        drawn = sorted(self.group(f"train{which}/rng/").items())
        recorded = [value for name, value in drawn if not name.endswith("randperm")]
        if not recorded or not total:
            empty = torch.zeros(2, 0, 4)
            return split_draws(targets, empty[..., 0], torch.zeros(2, 0, dtype=torch.int64), empty, empty)
        repeats = recorded[0].shape[0] // total
        replace, labels = torch.ones(repeats, total), torch.zeros(repeats, total, dtype=torch.int64)
        signs = magnitudes = torch.zeros(repeats, total, 4)
        if recorded[0].ndim == 1:  # without label noise nothing is drawn for it
            replace = recorded.pop(0).view(repeats, total)
            labels[replace < 0.5 * label_noise(self)] = recorded.pop(0)
        if recorded:  # nor without noise of boxes
            signs, magnitudes = (one.float().view(repeats, total, 4) for one in recorded)
            signs = signs * 2 - 1
        return split_draws(targets, replace, labels, signs, magnitudes)

    def replay(self, detector: QueryDetector, which: str, targets: Targets) -> None:
        """Let a detector use the recorded random numbers of a training pass instead of its own."""
        if detector.denoising is not None:
            detector.denoising.draw = lambda targets, shares: self.draws(which, targets)
        self.replay_selection(detector, f"train{which}")
        models_ms_detr.replay_caps(self, detector, which)
        if self.adapter in models_deta.MODELS:
            models_deta.replay_sampling(self, detector, which, targets)

    @property
    def ties(self) -> bool:
        """Whether tokens of equal score were selected, so that their order is arbitrary."""
        return self.description["stability"].get("invalid_in_topk", 0) > 0

    def replay_selection(self, detector: QueryDetector, part: str) -> None:
        """Where tokens tie, let a detector select the recorded ones of a pass, "eval" or such as "trainA"."""
        if self.ties and f"{part}/mid/topk_indices" in self:
            detector.selection.select = lambda proposals, num_queries: self[f"{part}/mid/topk_indices"]

    def build(self) -> QueryDetector:
        """Our detector with the recorded configuration and weights."""
        return copy.deepcopy(self._built)

    @cached_property
    def _built(self) -> QueryDetector:
        channels = {name: value.shape[1] for name, value in self.features().items()}
        check_recording(self.description.get("fixture_cfg", {}), ("deta_consts",) if "deta" in self.adapter else ())
        model = MODELS[self.adapter](self)
        model.neck.in_channels = channels
        model.backbone = L(GivenMaps)(channels=channels)
        let_padding_in(model)
        detector = instantiate(model)
        conversion = convert_state_dict(self.group("state/"))
        split_table(conversion, {"num_queries": self.num_queries})
        detector.load_state_dict(conversion.state, strict=True)
        return detector

    @property
    def num_queries(self) -> int:
        """Of the primary group."""
        keys = ("num_queries", "num_queries_one2one")
        return next(self.config[key] for key in keys if key in self.config)

    def our_name(self, name: str) -> str:
        """Our name of a recorded parameter."""
        family, sizes = self._naming
        ours = family.our_name(name, sizes)
        assert ours is not None, name
        return ours

    @cached_property
    def _naming(self) -> tuple[Any, Any]:
        state = self.group("state/")
        family = recognise(state)
        return family, find_sizes(state, family)


def let_padding_in(model: DictConfig) -> None:
    """The released codes let the padding of a batch into the neck, the selection and the positional queries.

    Those with standard attention embed boxes of the image, without its padding.
    """
    if "ignore_padding" in model.neck:
        model.neck.ignore_padding = False
    selection = model.selection.get("selection", model.selection)
    if "usable_only" in selection:
        selection.usable_only = False
    if model.decoder.get("query_position") is not None and not issubclass(model.decoder._target_, DenseDecoder):
        model.decoder.query_position.frame = "padded"


def recordings(adapter: str) -> list[str]:
    """Names of the fixtures of an adapter: those in the folder, and our own."""
    return [path.stem for path in sorted(FOLDER.glob("*.json")) if _adapter(path.stem) == adapter] + own(adapter)


def own(*adapters: str) -> list[str]:
    """Names of our own configurations of these adapters."""
    return [name for name, one in configurations().items() if one.adapter in adapters]


def parameters(names: Iterable[str]) -> list[Any]:
    """Names as parameters of tests: of each method's own configurations the first few, the others are slow."""

    def is_late(name: str) -> bool:
        number = re.fullmatch(r"own_.+_(\d+)", name)
        return number is not None and int(number[1]) > FIRST

    return [pytest.param(name, marks=pytest.mark.slow) if is_late(name) else name for name in names]


def available() -> list[str]:
    """Names of the fixtures of whole detectors of boxes: those in the folder, and our own.

    Raises:
        FileNotFoundError: when the folder has none that a test reads, as in a folder that was misspelt.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.json") if path.with_suffix(".npz").exists())
    supported = [name for name in names if _adapter(name) in MODELS]
    known = (*MODELS, *DENSE, *MASKS)
    if not any(_adapter(name) in known for name in names):
        raise FileNotFoundError(
            f"{FOLDER} holds no fixture of {', '.join(known)}; set QUERYDET_PARITY_DIR to the folder of the recordings"
        )
    return [*supported, *own(*MODELS)]


def unsupported() -> list[str]:
    """Names of the other fixtures in the folder."""
    names = sorted(path.stem for path in FOLDER.glob("*.json") if path.with_suffix(".npz").exists())
    return [name for name in names if _adapter(name) not in (*MODELS, *DENSE, *MASKS)]


def _adapter(name: str) -> str | None:
    return json.loads((FOLDER / f"{name}.json").read_text()).get("adapter")


def label_noise(fixture: Fixture) -> float:
    keys = ("dn_label_noise_ratio", "label_noise_ratio")
    return next(fixture.config[key] for key in keys if key in fixture.config)
