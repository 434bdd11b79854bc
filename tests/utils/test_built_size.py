"""A number in a config cannot make the building of a model hang or fill the memory."""

import time

import pytest
import torch
from torch import nn

from querydet.config import get_config, load_config
from querydet.utils.built_size import MAX_ENTRIES, bounded_size
from querydet.utils.lazy import instantiate
from querydet.utils.targets import VARIABLE
from tests.limits import bounded_memory

MANY = 10**12


def linear(width):
    return {"_target_": "torch.nn.Linear", "in_features": width, "out_features": 64}


@pytest.mark.parametrize(
    "override",
    [
        f"model.decoder.num_layers={MANY}",
        f"model.encoder.num_layers={MANY}",
        "model.selection.num_queries=100000000",
        "model.encoder.layer.ffn_dim=100000000",
        "model.num_classes=100000000",
    ],
)
def test_huge_numbers_end_soon(override, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    cfg = load_config("quick/dino_synthetic.py", [override])
    start = time.process_time()
    with pytest.raises((ValueError, RuntimeError), match=r"refused to (build|make)|can't allocate memory"):
        instantiate(cfg.model)
    assert time.process_time() - start < 20


def test_the_memory_of_what_is_refused_is_not_used(monkeypatch):
    monkeypatch.setattr("querydet.utils.built_size.MAX_WEIGHTS", 10**8)
    monkeypatch.delenv(VARIABLE, raising=False)
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"too large; .*{VARIABLE}"):
        instantiate(linear(5 * 10**6))  # 1.3 GB, which would take seconds to fill
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("model", "part"),
    [("group_conditional_detr", "selection"), ("group_detr", "selection"), ("group_dino", "denoising")],
)
def test_copies_count(model, part, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("querydet.utils.built_size.MAX_WEIGHTS", 10**8)
    node = get_config(f"common/models/{model}.py").model[part]
    node.num_groups = MANY
    with bounded_memory(megabytes=2000), pytest.raises(ValueError, match=r"refused to (build|make)"):
        instantiate(node)


def test_modules_without_weights_count():
    with bounded_memory(megabytes=300), pytest.raises(ValueError, match="refused to build"), bounded_size("x"):
        nn.Sequential(*(nn.Sequential(nn.Identity()) for _ in range(2 * MAX_ENTRIES)))


def test_the_limit_ends_with_the_block_and_one_can_lift_it(monkeypatch):
    monkeypatch.setattr("querydet.utils.built_size.MAX_WEIGHTS", 100)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ValueError, match=r"refused to (build|make)"):
        instantiate(linear(64))
    assert nn.Linear(64, 64).weight.shape == (64, 64)
    monkeypatch.setenv(VARIABLE, "*")
    assert torch.isfinite(instantiate(linear(64)).weight).all()


@pytest.mark.parametrize(
    "part",
    [
        {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 40_000},
        {"_target_": "torch.nn.Embedding", "num_embeddings": 10**9, "embedding_dim": 1},
        {"_target_": "torch.nn.BatchNorm2d", "num_features": 10**9},
        {"_target_": "detectron2.modeling.SwinTransformer", "window_size": 20_000},
        {"_target_": "detectron2.modeling.SwinTransformer", "ape": True, "pretrain_img_size": 10**5},
        {"_target_": "detectron2.modeling.MViT", "img_size": 10**7},
    ],
)
def test_tensors_are_refused_before_their_memory_is_used(part, monkeypatch):
    """Some are filled, or made from others, before a module registers them."""
    monkeypatch.delenv(VARIABLE, raising=False)
    start = time.monotonic()
    with bounded_memory(megabytes=2500), pytest.raises(ValueError, match=r"cannot be built: refused"):
        instantiate(part)
    assert time.monotonic() - start < 10


def test_what_is_too_large_is_named_with_its_key(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    cfg = load_config("quick/dino_synthetic.py", ["model.decoder.layer.ffn_dim=1000000000"])
    with pytest.raises(ValueError, match=r"^model\.decoder\.layer, which is .*\(.*ffn_dim=1000000000.*refused"):
        instantiate(cfg.model)


def test_lists_that_fill_the_memory_are_named(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    node = {"_target_": "querydet.modeling.layers.mlp.MLP", "input_dim": 4, "hidden_dim": 4, "output_dim": 4}
    with bounded_memory(megabytes=500), pytest.raises(ValueError, match=r"num_layers=1000000000.*MemoryError"):
        instantiate({**node, "num_layers": 10**9})
