"""Whole runs in this process."""

import re

import pytest
import torch
from detectron2.utils.events import EventStorage

from querydet.engine import NonFiniteError, Trainer, argument_parser, build_model, evaluate_only, main, train
from querydet.engine.solver import build_adamw
from querydet.engine.training import build_train_data
from querydet.utils.provenance import read_parts
from tests.engine.conftest import CONFIG
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics
from tests.engine.toy import ToyDetector, ToyEvaluator


def run_main(*arguments):
    main(argument_parser().parse_args(["--config-file", CONFIG, "--num-gpus", "0", *arguments]))


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_two_runs_are_equal_bit_by_bit(toy_config, tmp_path):
    for folder in ("first", "second"):
        torch.rand(3)  # the state of the generators before a run does not matter
        train(toy_config("model.dropout=0.2", "train.max_iter=3", folder=folder))
    assert_equal(*(read_checkpoint(tmp_path / folder / "model_final.pth") for folder in ("first", "second")))
    assert read_metrics(tmp_path / "first") == read_metrics(tmp_path / "second")


def test_seed_changes_the_run(toy_config, tmp_path):
    train(toy_config("train.max_iter=1", folder="first"))
    train(toy_config("train.max_iter=1", "train.seed=7", folder="second"))
    first, second = (weights(tmp_path / folder / "model_final.pth") for folder in ("first", "second"))
    assert not torch.equal(first["box_head.weight"], second["box_head.weight"])


@pytest.mark.parametrize(("key", "owner"), [("seed", "train.seed"), ("start_iteration", "--resume")])
def test_what_the_engine_decides_about_the_stream_is_refused_in_the_config(toy_config, key, owner):
    with pytest.raises(ValueError, match=f"dataloader.train.{key} has no effect in a training run, {owner} decides"):
        build_train_data(toy_config(f"dataloader.train.{key}=5"))


def test_commands_of_the_readme(tmp_path, capsys):
    """Train, refuse to overwrite, continue for longer, evaluate."""
    folder = tmp_path / "run"
    options = [f"train.output_dir={folder}", "train.max_iter=5"]
    run_main(*options)
    assert {path.name for path in folder.glob("*.pth")} == {"model_0000003.pth", "model_final.pth", "model_best.pth"}
    with pytest.raises(ValueError, match="earlier run: continue it with --resume"):
        run_main(*options)
    capsys.readouterr()
    run_main("--resume", f"train.output_dir={folder}", "train.max_iter=6")
    printed = capsys.readouterr().out
    assert "Starting training from iteration 5" in printed
    assert "iter: 5" in printed
    assert "copypaste: Task: bbox" in printed
    assert [line["iteration"] for line in read_metrics(folder)] == [1, 3, 5]  # as if it had been started for 6
    run_main("--resume", *options)  # complete: evaluates only
    assert "iter: " not in capsys.readouterr().out.partition("Starting training")[2]
    run_main("--eval-only", f"train.output_dir={tmp_path / 'eval'}", f"train.init_checkpoint={folder}/model_best.pth")
    assert "copypaste: Task: bbox" in capsys.readouterr().out


def test_resume_without_a_checkpoint_starts_a_run(toy_config, tmp_path):
    results = train(toy_config("train.max_iter=1"), resume=True)
    assert 0 < results["bbox"]["AP"] < 100
    assert (tmp_path / "run" / "model_final.pth").exists()
    assert {"command", "commit", "date", "machine", "minutes"} <= read_parts(str(tmp_path / "run"))[0].keys()


def test_average_is_evaluated_and_saved(toy_config, tmp_path):
    cfg = toy_config("train.max_iter=4", "train.ema.decay=0.5", "train.ema.evaluate_raw=True", "optimizer.lr=0.1")
    results = train(cfg)
    assert results["bbox"]["AP"] != results["raw"]["bbox"]["AP"]
    assert {"bbox/AP", "raw/bbox/AP"} <= read_metrics(tmp_path / "run")[-1].keys()
    for ema, expected in ((True, results["bbox"]), (False, results["raw"]["bbox"])):
        cfg.train.ema.enabled = ema
        assert evaluate_only(cfg, build_model(cfg), resume=True)["bbox"] == expected


def test_average_follows_its_definition(toy_config, tmp_path):
    train(toy_config("train.max_iter=3", "train.ema.decay=0.5", "train.checkpointer.period=1it"))
    steps = [weights(tmp_path / "run" / name) for name in ("model_0000000.pth", "model_0000001.pth", "model_final.pth")]
    ema = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["ema"]
    for name, last in steps[2].items():
        expected = 0.5 * (0.5 * steps[0][name] + 0.5 * steps[1][name]) + 0.5 * last
        torch.testing.assert_close(ema[f"module.{name}"], expected)


def test_only_the_newest_checkpoints_are_kept(toy_config, tmp_path):
    options = ["train.checkpointer.period=1it", "train.checkpointer.max_to_keep=2"]
    train(toy_config(*options, "train.max_iter=4"))
    train(toy_config(*options, "train.max_iter=6"), resume=True)
    # Iterations 3 and 5, the last ones of their runs, are in model_final.pth.
    assert {path.name for path in (tmp_path / "run").glob("model_0*")} == {"model_0000002.pth", "model_0000004.pth"}


def test_best_model_survives_a_restart(toy_config, tmp_path):
    options = ["train.eval_period=1it", "train.log_period=1", "optimizer.lr=0.1"]
    train(toy_config(*options, "train.max_iter=4", folder="whole"))
    train(toy_config(*options, "train.max_iter=2", folder="parts"))
    train(toy_config(*options, "train.max_iter=4", folder="parts"), resume=True)
    whole, parts = (
        torch.load(tmp_path / folder / "model_final.pth", weights_only=True)["trainer"]["hooks"]["BestCheckpointer"]
        for folder in ("whole", "parts")
    )
    assert whole == parts
    history = [line["bbox/AP"] for line in read_metrics(tmp_path / "whole") if "bbox/AP" in line]
    assert whole["best"] == pytest.approx(max(history[:3]))


@pytest.mark.parametrize("option", ["model.nan_at=2", "model.nan_grad_at=2"])
def test_non_finite_step_stops_before_the_optimizer(toy_config, tmp_path, option):
    cfg = toy_config(option, "train.checkpointer.period=1it")
    with pytest.raises(NonFiniteError) as error:
        train(cfg)
    message = str(error.value)
    assert "iteration 1: NaN or infinite" in message
    assert ("loss_class=nan" if "grad" not in option else "gradients of box_head.bias") in message
    assert len(re.findall(r"\d{6}\.png", message)) == 4
    assert [path.name for path in sorted((tmp_path / "run").glob("*.pth"))] == ["model_0000000.pth"]


@pytest.mark.parametrize("option", ["model.nan_at=2", "model.nan_grad_at=2"])
def test_non_finite_steps_can_be_left_out(toy_config, tmp_path, option):
    options = ["train.max_nonfinite_steps=1", "train.checkpointer.period=1it", "train.log_period=1"]
    train(toy_config(option, *options, "train.max_iter=3"))
    before, after, later = (
        read_checkpoint(tmp_path / "run" / name)
        for name in ("model_0000000.pth", "model_0000001.pth", "model_final.pth")
    )
    assert_equal(before["model"], after["model"])
    assert_equal(before["ema"], after["ema"])
    assert not torch.equal(after["model"]["box_head.weight"], later["model"]["box_head.weight"])
    assert read_metrics(tmp_path / "run")[1]["nonfinite_steps"] == 1


def test_overflow_under_loss_scaling_is_left_out_and_scales_less(toy_config):
    """float16's loss scaling, which needs no GPU to be tested."""
    cfg = toy_config()
    model = ToyDetector(6)
    model.register_forward_hook(lambda module, inputs, losses: {name: 100 * loss for name, loss in losses.items()})
    trainer = Trainer(model, build_train_data(cfg), build_adamw(model), cfg.train)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=100)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with EventStorage() as trainer.storage:
        for trainer.iter in range(40):
            trainer.run_step()
            if trainer.step_applied:
                break
            assert all(map(torch.equal, before, model.parameters()))
        assert 0 < trainer.iter < 39
        assert trainer.storage.latest()["loss_scale"][0] == trainer.scaler.get_scale() < 2.0**127
    assert not all(map(torch.equal, before, model.parameters()))
    assert trainer.nonfinite.count == 0


def test_bfloat16(toy_config):
    cfg = toy_config("train.amp.enabled=True")
    model = ToyDetector(6)
    trainer = Trainer(model, build_train_data(cfg), build_adamw(model), cfg.train)
    with EventStorage() as trainer.storage:
        trainer.run_step()
    assert model.features.dtype is torch.bfloat16
    assert all(parameter.grad.dtype is torch.float32 for parameter in model.parameters())
    assert trainer.step_applied


def test_gradients_are_clipped_to_the_norm(toy_config):
    cfg = toy_config("train.clip_grad_norm=0.01")
    model = ToyDetector(6)
    trainer = Trainer(model, build_train_data(cfg), build_adamw(model), cfg.train)
    with EventStorage() as trainer.storage:
        trainer.run_step()
        logged = trainer.storage.latest()["grad_norm"][0]
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert logged > 0.01
    assert norm.item() == pytest.approx(0.01, rel=1e-3)


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


def test_resuming_takes_the_changed_options_of_the_optimizer(toy_config, tmp_path):
    train(toy_config("train.max_iter=2"))
    changed = ["optimizer.lr=0.5", "optimizer.weight_decay=0.25", "lr_multiplier.milestones=[0.5]"]
    train(toy_config("train.max_iter=3", "train.log_period=1", *changed), resume=True)
    (backbone, other) = read_checkpoint(tmp_path / "run" / "model_final.pth")["trainer"]["optimizer"]["param_groups"]
    assert (other["lr"], other["weight_decay"]) == (pytest.approx(0.05), 0.25)  # dropped after iteration 1
    assert backbone["lr"] == pytest.approx(0.005)
    assert read_metrics(tmp_path / "run")[-1]["lr"] == pytest.approx(0.005)  # of the larger group


def test_misspelt_best_metric_is_reported_with_those_that_exist(toy_config, tmp_path, caplog):
    cfg = toy_config("train.max_iter=1", "train.checkpointer.best_metric=bbox/ap")
    train(cfg)
    assert "best_metric=bbox/ap was not evaluated, no model_best.pth is written; there are bbox/AP" in caplog.text
    assert not (tmp_path / "run" / "model_best.pth").exists()


def test_nothing_to_evaluate_is_not_the_best_result(toy_config, tmp_path, monkeypatch):
    monkeypatch.setattr(ToyEvaluator, "evaluate", lambda self: {"bbox": {"AP": -1.0}})
    train(toy_config("train.max_iter=1"))
    assert not (tmp_path / "run" / "model_best.pth").exists()


def test_best_model_of_a_run_without_checkpoints_is_not_overwritten(toy_config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_best.pth").write_bytes(b"precious")
    with pytest.raises(ValueError, match="earlier run: it saved nothing to resume from, choose another"):
        train(toy_config("train.max_iter=1"))
    assert (tmp_path / "run" / "model_best.pth").read_bytes() == b"precious"


@pytest.mark.parametrize("period", ["20it", 0])
def test_wrong_log_period_is_refused(toy_config, period):
    with pytest.raises(ValueError, match=r"train.log_period has to be an integer of at least 1"):
        train(toy_config(f"train.log_period={period}"))


def test_damaged_checkpoints_are_reported(toy_config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_final.pth").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
        train(toy_config(), resume=True)


def test_fine_tuning_from_other_classes(toy_config, tmp_path):
    train(toy_config("train.max_iter=1", folder="first"))
    state = torch.load(tmp_path / "first" / "model_final.pth", weights_only=True)
    for name in ("class_head.weight", "class_head.bias"):
        state["model"][name] = state["model"][name][:2]
    torch.save(state, tmp_path / "two_classes.pth")
    options = ["train.max_iter=1", f"train.init_checkpoint={tmp_path / 'two_classes.pth'}"]
    with pytest.raises(ValueError, match=r"train.init_allow_mismatch=True"):
        train(toy_config(*options, folder="second"))
    train(toy_config(*options, "train.init_allow_mismatch=True", folder="second"))


def test_weights_that_cannot_be_downloaded(toy_config):
    with pytest.raises(ConnectionError, match=r"cannot download train.init_checkpoint=http.*random"):
        train(toy_config("train.max_iter=1", "train.init_checkpoint=http://localhost:1/a.pth"))
