"""Measurements of a run: they agree with each other."""

import json
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from querydet.engine import train
from querydet.engine.hooks.monitoring import Timed, part_norms, time_assigners
from querydet.modeling.criterion import Criterion, SupervisionRule
from tests.engine.conftest import DINO_CONFIG
from tests.models import make_inputs, tiny_detector

SHOWN = {
    "grad_norm",
    "grad_norm/backbone",
    "grad_norm/decoder",
    "grad_norm/encoder",
    "lr",
    "lr/backbone",
    "lr/other",
    "data_time",
    "compute_time",
    "matching_time",
    "images_per_second",
    "memory_mb",
    "skipped_steps",
    "skipped_images",
}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_a_run_shows_gradients_rates_times_and_memory(toy_config, tmp_path):
    # the second step is left out
    options = ["train.max_iter=3", "train.log_period=1", "model.backbone.nan_at=2", "train.max_nonfinite_steps=1"]
    train(toy_config(*options, "train.clip_grad_norm=0.001", config=DINO_CONFIG))
    first, second, last = lines_of(tmp_path / "run")
    assert first.keys() >= SHOWN
    parts = [value for name, value in first.items() if name.startswith("grad_norm/")]
    assert sum(value**2 for value in parts) == pytest.approx(first["grad_norm"] ** 2, rel=1e-4)
    assert first["grad_norm"] > 0.001  # before clipping
    assert first["lr/other"] == pytest.approx(10 * first["lr/backbone"])
    assert 0 < last["matching_time"] < last["compute_time"]
    assert last["images_per_second"] == pytest.approx(4 / (last["compute_time"] + last["data_time"]), rel=0.5)
    assert last["memory_mb"] > 100  # torch alone
    assert (first["skipped_steps"], second["skipped_steps"], last["skipped_steps"]) == (0, 1, 1)
    board = EventAccumulator(str(tmp_path / "run"))
    board.Reload()
    assert set(board.Tags()["scalars"]) >= SHOWN


def test_assigners_are_timed_and_nothing_else():
    detector = tiny_detector("dino").train()
    watch = time_assigners(detector)
    detector(make_inputs([(64, 64)], [2]))
    spent, start = watch.seconds, time.perf_counter()
    assert spent > 0
    watch.time(time.sleep)(0.05)
    assert 0.05 <= watch.seconds - spent <= time.perf_counter() - start
    assert all(isinstance(rule, SupervisionRule) for rule in detector.criterion.rules.values())
    assert isinstance(detector.criterion.assign, Timed)
    assert isinstance(detector.criterion, Criterion)
    assert time_assigners(torch.nn.Linear(1, 1)).seconds == 0.0


def test_norms_of_parts_by_hand():
    parts = {"a": torch.nn.Linear(2, 1, bias=False), "b": torch.nn.Linear(1, 1), "c": torch.nn.ReLU()}
    model = torch.nn.ModuleDict(parts)
    model["a"].weight.grad = torch.tensor([[3.0, 4.0]])
    assert {name: float(norm) for name, norm in part_norms(model).items()} == {"a": 5.0}
