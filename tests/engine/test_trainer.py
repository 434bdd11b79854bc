"""The training step: NaN, loss scaling, mixed precision and clipping."""

import re

import pytest
import torch
from detectron2.utils.events import EventStorage

from querydet.engine import NonFiniteError, Trainer, train
from querydet.engine.solver import build_adamw
from querydet.engine.training import build_train_data
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics
from tests.engine.toy import ToyDetector


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
