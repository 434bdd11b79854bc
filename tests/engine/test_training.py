"""Whole runs in this process: what they start from, repeat and refuse."""

import socket
from functools import partial

import pytest
import torch
from detectron2.config import LazyCall as L

from querydet.data import RepeatFactors
from querydet.engine import train
from querydet.engine.faults.stopping import StopRequest
from querydet.engine.training import build_optimizer, build_train_data, prepare_run
from querydet.utils.provenance import read_parts
from querydet.utils.system import network_timeout
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_two_runs_are_equal_bit_by_bit(toy_config, tmp_path):
    for folder in ("first", "second"):
        torch.rand(3)  # the state of the generators before a run does not matter
        train(toy_config("model.dropout=0.2", "train.max_iter=3", folder=folder))
    assert_equal(*(read_checkpoint(tmp_path / folder / "model_final.pth") for folder in ("first", "second")))
    assert read_metrics(tmp_path / "first") == read_metrics(tmp_path / "second")


def test_an_interrupted_run_with_repeated_images_equals_an_uninterrupted_one(toy_config, tmp_path):
    def run(folder, iterations, resume=False):
        cfg = toy_config(f"train.max_iter={iterations}", "dataloader.evaluator=null", folder=folder)
        cfg.dataloader.train.repeat = L(RepeatFactors)(threshold=1.0)
        train(cfg, resume)

    run("whole", 8)
    run("parts", 6)
    run("parts", 8, resume=True)
    assert_equal(*(read_checkpoint(tmp_path / folder / "model_final.pth") for folder in ("whole", "parts")))


def test_an_epoch_has_the_repeats_of_the_images(toy_config):
    cfg = toy_config()
    once = prepare_run(cfg, False, StopRequest()).length
    cfg.dataloader.train.repeat = L(RepeatFactors)(threshold=1.0)
    parts = prepare_run(cfg, False, StopRequest())
    samples = parts.trainer.data_loader.dataset.epoch_length
    assert samples > len(parts.trainer.data_loader.dataset) == 16
    assert parts.length.iterations_per_epoch == samples // 4
    assert once.iterations_per_epoch == 4
    assert parts.data["images"] == 16


def test_seed_changes_the_run(toy_config, tmp_path):
    train(toy_config("train.max_iter=1", folder="first"))
    train(toy_config("train.max_iter=1", "train.seed=7", folder="second"))
    first, second = (weights(tmp_path / folder / "model_final.pth") for folder in ("first", "second"))
    assert not torch.equal(first["box_head.weight"], second["box_head.weight"])


@pytest.mark.parametrize(("key", "owner"), [("seed", "train.seed"), ("start_iteration", "--resume")])
def test_what_the_engine_decides_about_the_stream_is_refused_in_the_config(toy_config, key, owner):
    with pytest.raises(ValueError, match=f"dataloader.train.{key} has no effect in a training run, {owner} decides"):
        build_train_data(toy_config(f"dataloader.train.{key}=5"))


def test_resume_without_a_checkpoint_starts_a_run(toy_config, tmp_path):
    results = train(toy_config("train.max_iter=1"), resume=True)
    assert 0 < results["bbox"]["AP"] < 100
    assert (tmp_path / "run" / "model_final.pth").exists()
    assert {"command", "commit", "date", "machine", "minutes"} <= read_parts(str(tmp_path / "run"))[0].keys()


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["model.num_classes=3"], ValueError, "set model.num_classes=6"),
        (["train.init_checkpoint=absent.pth"], FileNotFoundError, "absent.pth does not exist"),
        (["train.amp={enabled: True, dtype: float16}"], ValueError, "float16 needs a GPU"),
        (["train.amp={enabled: True, dtype: int8}"], ValueError, "bfloat16, float16, got 'int8'"),
        (["train.ema.decay=1.5"], ValueError, "train.ema.decay"),
        (["train.log_period=0"], ValueError, "train.log_period"),
        (["train.checkpointer.max_to_keep=0"], ValueError, "max_to_keep"),
        (["dataloader.train.total_batch_size=0"], ValueError, "total_batch_size"),
    ],
)
def test_wrong_config_is_refused(toy_config, overrides, error, message):
    with pytest.raises(error, match=message):
        train(toy_config(*overrides))


def test_best_model_of_a_run_without_checkpoints_is_not_overwritten(toy_config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_best.pth").write_bytes(b"precious")
    with pytest.raises(ValueError, match="earlier run: it saved nothing to resume from, choose another"):
        train(toy_config("train.max_iter=1"))
    assert (tmp_path / "run" / "model_best.pth").read_bytes() == b"precious"


def test_damaged_checkpoints_are_reported(toy_config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_final.pth").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
        train(toy_config(), resume=True)


def test_weights_that_cannot_be_downloaded(toy_config):
    with pytest.raises(ConnectionError, match=r"cannot download train.init_checkpoint=http.*random"):
        train(toy_config("train.max_iter=1", "train.init_checkpoint=http://localhost:1/a.pth"))


def test_a_download_that_stalls_ends(toy_config, monkeypatch):
    monkeypatch.setattr("querydet.engine.training.network_timeout", partial(network_timeout, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/stalled.pth"
        with pytest.raises(ConnectionError, match=r"cannot download train.init_checkpoint=http.*timed out"):
            train(toy_config("train.max_iter=1", f"train.init_checkpoint={address}"))


@pytest.mark.parametrize(
    ("rule", "batch", "wanted"), [(None, 64, 1.0), ("linear", 64, 4.0), ("sqrt", 64, 2.0), ("linear", 4, 0.25)]
)
def test_learning_rates_follow_the_batch(toy_config, rule, batch, wanted):
    cfg = toy_config(f"train.lr_scaling.rule={rule or 'null'}", f"dataloader.train.total_batch_size={batch}")
    model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(1, 1), "head": torch.nn.Linear(1, 1)})
    rates = [group["lr"] for group in build_optimizer(cfg, model).param_groups]
    assert rates == pytest.approx([0.001 * wanted, 0.01 * wanted])
