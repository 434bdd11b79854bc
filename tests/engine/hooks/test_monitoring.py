"""What a run shows of itself: measured values agree with each other, and the run folder says what ran."""

import json
import sys
import time
import types

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from querydet.data.fingerprint import fingerprint
from querydet.engine import argument_parser, main, train
from querydet.engine.hooks.monitoring import Timed, part_norms, time_assigners
from querydet.engine.training import build_train_data
from querydet.modeling.criterion import Criterion, SupervisionRule
from querydet.utils.provenance import read_parts
from tests.engine.conftest import CONFIG, DINO_CONFIG
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


def test_the_run_folder_says_what_ran(toy_config, tmp_path, monkeypatch):
    monkeypatch.setattr("querydet.engine.run.run_record.uncommitted", lambda: "the changes\n")
    cfg = toy_config("train.max_iter=1")
    train(cfg)
    (part,) = read_parts(str(tmp_path / "run"))
    assert part["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert part["processes"] == 1
    assert {"commit", "branch", "changed", "untracked"} == part["git"].keys() or part["git"] == {}
    assert part["data"]["train"]["images"] == 16
    assert part["data"]["test"]["images"] == 3
    assert part["data"]["train"]["annotations_sha256"] != part["data"]["test"]["annotations_sha256"]
    assert (tmp_path / "run" / "uncommitted.diff").read_text() == "the changes\n"


def test_a_fingerprint_is_of_the_content(toy_config, tmp_path):
    def of(**changes):
        return fingerprint(build_train_data(toy_config(*(f"{key}={value}" for key, value in changes.items()))).dataset)

    node = "dataloader.train.dataset"
    first, again, other = of(), of(), of(**{f"{node}.num_images": 17})
    assert first == again
    assert first["annotations_sha256"] != other["annotations_sha256"]
    moved = of(**{f"{node}.root": tmp_path / "elsewhere"})
    kept = ("images", "annotations_sha256", "hashed_files", "files_sha256")
    assert [moved[key] for key in kept] == [first[key] for key in kept]
    image = next((tmp_path / "elsewhere").rglob("*.png"))
    image.write_bytes(image.read_bytes() + b"x")
    assert of(**{f"{node}.root": tmp_path / "elsewhere"})["files_sha256"] != first["files_sha256"]


def test_a_dry_run_estimates_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    folder, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    arguments = ["--config-file", CONFIG, "--num-gpus", "0", "--dry-run", f"train.output_dir={folder}"]
    main(argument_parser().parse_args([*arguments, "train.max_epochs=7", "train.wandb.enabled=True"]))
    printed = capsys.readouterr().out.partition("Dry run")[2]
    for row in ("computing a step", "an epoch", "an evaluation", "the run", "memory so far", "a checkpoint"):
        assert row in printed
    assert not folder.exists()
    assert list(scratch.iterdir()) == []


def test_a_dry_run_finds_what_the_run_would_stumble_over(tmp_path):
    arguments = ["--config-file", CONFIG, "--num-gpus", "0", "--dry-run", f"train.output_dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match=r"set model.num_classes=6"):
        main(argument_parser().parse_args([*arguments, "model.num_classes=5"]))


class FakeRun:
    """What wandb.init returns."""

    id = "abc123"

    def __init__(self):
        self.lines, self.finished = {}, False

    def log(self, values, step):
        self.lines.setdefault(step, {}).update(values)

    def finish(self):
        self.finished = True


def test_weights_and_biases_gets_the_same_numbers(toy_config, tmp_path, monkeypatch):
    runs, calls = [], []

    def init(**options):
        calls.append(options)
        runs.append(FakeRun())
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    options = ["train.log_period=1", "train.wandb.enabled=True", "train.wandb.mode=offline"]
    train(toy_config(*options, "train.max_iter=2"))
    train(toy_config(*options, "train.max_iter=4"), resume=True)
    assert [sorted(run.lines) for run in runs] == [[0, 1], [2, 3]]
    assert all(run.finished for run in runs)
    for line in lines_of(tmp_path / "run")[2:]:
        assert runs[1].lines[line["iteration"]]["loss_box"] == pytest.approx(line["loss_box"])
    assert [(call["project"], call["mode"], call["id"], call["name"]) for call in calls] == [
        ("querydet", "offline", None, "run"),
        ("querydet", "offline", "abc123", "run"),
    ]


def test_weights_and_biases_is_asked_for_but_not_installed(toy_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"train.wandb.enabled=True needs wandb: pip install wandb"):
        train(toy_config("train.max_iter=1", "train.wandb.enabled=True"))
