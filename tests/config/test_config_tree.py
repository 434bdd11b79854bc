"""Every shipped config loads, saves, loads again and names real arguments; every recipe builds its model."""

import functools
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import LazyConfig, lazy
from detectron2.utils.registry import locate
from omegaconf import OmegaConf

from querydet.analysis.flops import on_meta, without_stochastic_depth
from querydet.config import (
    TOP_LEVEL,
    find_config,
    get_config,
    load_config,
    save_config,
    shipped_configs,
)
from querydet.engine.iteration_schedule import MultiStepIterations
from querydet.engine.solver import EpochScheduler, MultiStepEpochs
from querydet.utils.lazy import instantiate

FILES = shipped_configs()
HELPERS = [name for name in FILES if name.startswith("configs/common/")]
RECIPES = [name for name in FILES if name not in HELPERS]
TRAIN = get_config("common/train.py").train
BUILT: dict[str, Any] = {}  # parts of models by their config with references filled in: few are of one recipe alone
SAVED: set[Any] = set()  # places and outlines of parts whose saving was checked: many recipes differ in numbers alone


def calls(node, path=""):
    """Yields (path, node) of every ``LazyCall`` node, plain containers in plain containers."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for name, value in node.items():
            yield from calls(value, f"{path}.{name}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from calls(item, f"{path}.{index}")


def check_arguments(content, name):
    """Every call of a config names arguments that its target has."""
    for path, node in calls(content):
        target = locate(node["_target_"]) if isinstance(node["_target_"], str) else node["_target_"]
        arguments = [key for key in node if key != "_target_"]
        try:
            signature(target).bind_partial(**dict.fromkeys(arguments))
        except TypeError as error:
            pytest.fail(f"{name}{path} calls {target.__name__}: {error}")


signature = functools.cache(inspect.signature)


def outlines(node, depth=0):
    """What saving depends on, in two levels of parts: names, targets, references, and the types of other values."""
    if isinstance(node, dict) and depth < 2:
        for name, value in node.items():
            yield from ((name, *outline) for outline in outlines(value, depth + 1))
    else:
        yield (outline_of(node),)


def outline_of(node):
    if isinstance(node, dict):
        return tuple((name, str(each) if name == "_target_" else outline_of(each)) for name, each in node.items())
    if isinstance(node, list):
        return tuple(map(outline_of, node))
    return node if isinstance(node, str) and "${" in node else type(node)


def check_name(cfg, name):
    """A recipe trains as many epochs or thousand iterations as its name says, in a folder of its name."""
    if name.startswith("projects/"):
        assert Path(cfg.train.output_dir).name == Path(name).stem
        epochs = re.search(r"_(\d+)ep$", Path(name).stem)
        assert epochs is None or cfg.train.max_epochs == int(epochs[1])
        iterations = re.search(r"_(\d+)k$", Path(name).stem)
        assert iterations is None or get_config(name).train.max_iter == 1000 * int(iterations[1])


def check_saving(cfg, tmp_path, monkeypatch):
    """What is saved loads again and says the same."""
    parts = set(outlines(OmegaConf.to_container(cfg, resolve=False)))
    if parts <= SAVED:
        return
    SAVED.update(parts)
    with monkeypatch.context() as patch:  # Detectron2 reads what it has written; loading it does more
        patch.setattr(lazy.yaml, "unsafe_load", lambda text: None)
        save_config(cfg, str(tmp_path / "config.yaml"))
        LazyConfig.save(get_config(str(tmp_path / "config.yaml")), str(tmp_path / "again.yaml"))
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "config.yaml").read_text()


def built(model):
    """A model without weights, of parts that are built once for all recipes that say the same of them."""
    node = OmegaConf.to_container(without_stochastic_depth(model), resolve=True)
    with on_meta():
        return instantiate({name: built_part(part) for name, part in node.items()})


def built_part(part):
    if not isinstance(part, dict):
        return part
    key = repr(part)
    if key not in BUILT:
        BUILT[key] = instantiate(OmegaConf.create(part, flags={"allow_objects": True}))
    return BUILT[key]


@pytest.mark.parametrize("name", HELPERS)
def test_helper_loads_saves_and_names_real_arguments(name, tmp_path, monkeypatch):
    cfg = get_config(name)
    check_arguments(OmegaConf.to_container(cfg, resolve=False), name)
    check_saving(cfg, tmp_path, monkeypatch)


def some_slow(names):
    """The larger networks of timm take seconds: they are run on the meta device when they are built."""
    long = re.compile(r"dino_detrex_(convnext_[sbl]_|focalnet_)")
    return [pytest.param(name, marks=pytest.mark.slow) if long.search(name) else name for name in names]


@pytest.mark.parametrize("name", some_slow(RECIPES))
def test_recipe_is_complete_saves_and_builds(name, tmp_path, monkeypatch):
    cfg = load_config(name, ["train.max_iter=20", "train.seed=1", "model.num_classes=17"])
    assert set(cfg) == set(TOP_LEVEL)
    assert set(cfg.train) == set(TRAIN)
    content = OmegaConf.to_container(cfg, resolve=True)
    classes = {f"{path}.{key}": node[key] for path, node in calls(content) for key in node if key == "num_classes"}
    assert set(classes.values()) == {17}, classes
    check_arguments(content, name)
    check_saving(cfg, tmp_path, monkeypatch)
    optimizer = instantiate({**cfg.optimizer, "model": built(cfg.model)})
    schedule = instantiate(cfg.lr_multiplier)
    assert isinstance(schedule, MultiStepEpochs)
    EpochScheduler(optimizer, schedule, iterations_per_epoch=100)
    check_name(cfg, name)
    end = get_config(name).train.max_iter if isinstance(schedule, MultiStepIterations) else cfg.train.max_epochs
    assert max(schedule.milestones) < end, "a drop after the end of the run"


def test_every_config_is_found_by_its_name():
    for name in FILES:
        assert find_config(name).endswith(name)
