"""A run of the small DINO to show, and its page."""

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from PIL import Image

from querydet.config import load_config, save_config
from querydet.demo import Models, find_choices
from querydet.engine import build_model
from tests.engine.conftest import DINO_CONFIG
from tests.masked import WithMasks
from tests.models import PooledBackbone


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, toy_data):
    """As training leaves it: a config and two checkpoints, with names of the classes."""
    folder = tmp_path_factory.mktemp("run")
    cfg = load_config(DINO_CONFIG, ["train.device=cpu"])
    cfg.model.backbone = L(PooledBackbone)(channels=cfg.model.backbone.channels)  # which a YAML file can name
    save_config(cfg, str(folder / "config.yaml"))
    names = [f"thing {index}" for index in range(6)]
    for name, seed in (("model_0000001.pth", 1), ("model_best.pth", 2)):
        cfg.train.seed = seed
        torch.save({"model": build_model(cfg).state_dict(), "class_names": names}, folder / name)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """An image of 120 x 80 pixels."""
    path = tmp_path_factory.mktemp("picture") / "photo.png"
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (80, 120, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def models(run_folder):
    """What the page offers."""
    return Models(find_choices([str(run_folder)]))


@pytest.fixture(params=["bitmaps", "run lengths"])
def masked_models(models, request, monkeypatch):
    """The same, as of detectors with masks."""
    load = models._load

    def load_with_masks(index):
        predictor = load(index)
        if not isinstance(predictor.model, WithMasks):
            predictor.model = WithMasks(predictor.model, as_rle=request.param == "run lengths")
        return predictor

    monkeypatch.setattr(models, "_load", load_with_masks)
    return models
