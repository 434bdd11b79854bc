"""Every shipped config loads, saves, loads again and names real arguments; every recipe builds its model."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import LazyConfig, instantiate, lazy
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf

from querydet.analysis.flops import build_on_meta
from querydet.config import (
    TOP_LEVEL,
    find_config,
    get_config,
    load_config,
    save_config,
    shipped_configs,
)
from querydet.engine.solver import EpochScheduler, MultiStepEpochs

FILES = shipped_configs()
HELPERS = [name for name in FILES if name.startswith("configs/common/")]
RECIPES = [name for name in FILES if name not in HELPERS]
TRAIN = get_config("common/train.py").train
BUILT: dict[str, Any] = {}  # models by their config with references filled in: a longer schedule has the same model
SAVED: set[Any] = set()  # outlines of configs whose saving was checked: many recipes differ in numbers alone


def calls(node, path=""):
    """Yields (path, node) of every ``LazyCall`` node."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for name in node:
            if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name):
                yield from calls(node[name], f"{path}.{name}")
    elif isinstance(node, ListConfig):
        for index, item in enumerate(node):
            yield from calls(item, f"{path}.{index}")


def check_arguments(cfg, name):
    """Every call of a config names arguments that its target has."""
    for path, node in calls(cfg):
        target = locate(node._target_) if isinstance(node._target_, str) else node._target_
        arguments = [key for key in node if key != "_target_"]
        try:
            inspect.signature(target).bind_partial(**dict.fromkeys(arguments))
        except TypeError as error:
            pytest.fail(f"{name}{path} calls {target.__name__}: {error}")


def outline(node):
    """What saving depends on: names, targets, and the types of values."""
    if isinstance(node, dict):
        return tuple((name, str(value) if name == "_target_" else outline(value)) for name, value in node.items())
    return tuple(map(outline, node)) if isinstance(node, list) else type(node)


def check_name(cfg, name):
    """A recipe trains as many epochs as its name says, in a folder of its name."""
    if name.startswith("projects/"):
        assert Path(cfg.train.output_dir).name == Path(name).stem
        epochs = re.search(r"_(\d+)ep$", Path(name).stem)
        assert epochs is None or cfg.train.max_epochs == int(epochs[1])


def check_saving(cfg, tmp_path, monkeypatch):
    """What is saved loads again and says the same."""
    shape = outline(OmegaConf.to_container(cfg, resolve=False))
    if shape in SAVED:
        return
    SAVED.add(shape)
    save_config(cfg, str(tmp_path / "config.yaml"))
    with monkeypatch.context() as patch:  # Detectron2 reads what it has written; the comparison does more
        patch.setattr(lazy.yaml, "unsafe_load", lambda text: None)
        LazyConfig.save(get_config(str(tmp_path / "config.yaml")), str(tmp_path / "again.yaml"))
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "config.yaml").read_text()


def built(model):
    """A model without weights, built once for all recipes that say the same of it."""
    key = repr(OmegaConf.to_container(model, resolve=True))
    if key not in BUILT:
        BUILT[key] = build_on_meta(model)
    return BUILT[key]


@pytest.mark.parametrize("name", HELPERS)
def test_helper_loads_saves_and_names_real_arguments(name, tmp_path, monkeypatch):
    cfg = get_config(name)
    check_arguments(cfg, name)
    check_saving(cfg, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_complete_saves_and_builds(name, tmp_path, monkeypatch):
    cfg = load_config(name, ["train.max_iter=20", "train.seed=1", "model.num_classes=17"])
    assert set(cfg) == set(TOP_LEVEL)
    assert set(cfg.train) == set(TRAIN)
    classes = {f"{path}.{key}": node[key] for path, node in calls(cfg) for key in node if key == "num_classes"}
    assert set(classes.values()) == {17}, classes
    check_arguments(cfg, name)
    check_saving(cfg, tmp_path, monkeypatch)
    optimizer = instantiate({**cfg.optimizer, "model": built(cfg.model)})
    schedule = instantiate(cfg.lr_multiplier)
    assert isinstance(schedule, MultiStepEpochs)
    EpochScheduler(optimizer, schedule, iterations_per_epoch=100)
    check_name(cfg, name)
    assert max(schedule.milestones) < cfg.train.max_epochs, "a drop after the end of the run"


def test_every_config_is_found_by_its_name():
    for name in FILES:
        assert find_config(name).endswith(name)
