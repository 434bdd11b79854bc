"""Batches that do not fit into memory, on a model that says so."""

import pytest
import torch
from torch import nn

from querydet.engine import train
from querydet.engine.faults import out_of_memory
from querydet.modeling.encoder.deformable import DeformableEncoder
from tests.engine.conftest import DINO_CONFIG
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics
from tests.engine.two_processes import in_two_processes

FEW = ["train.max_iter=3", "train.log_period=1", "train.checkpointer.period=1it"]


@pytest.mark.parametrize("backward", [False, True])
def test_a_step_is_computed_image_by_image(toy_config, tmp_path, backward, caplog):
    train(toy_config(*FEW, folder="whole"))
    short = ["model.room=1", f"model.room_backward={backward}", "train.out_of_memory.action=split"]
    train(toy_config(*FEW, *short))
    whole, split = (read_checkpoint(tmp_path / folder / "model_final.pth")["model"] for folder in ("whole", "run"))
    for name, weight in whole.items():
        torch.testing.assert_close(split[name], weight, rtol=1e-4, atol=1e-6)
    for line, other in zip(read_metrics(tmp_path / "run"), read_metrics(tmp_path / "whole"), strict=True):
        assert line == pytest.approx(other, rel=1e-5)
    assert "Step repeated in 4 parts, for the 3. time: iteration 2: out of memory in" in caplog.text


@pytest.mark.parametrize(("action", "room"), [("skip", 3), ("split", 0)])
def test_a_step_can_be_left_out(toy_config, tmp_path, action, room, caplog):
    train(toy_config(*FEW, f"model.room={room}", f"train.out_of_memory.action={action}"))
    first, last = (read_checkpoint(tmp_path / "run" / name) for name in ("model_0000000.pth", "model_final.pth"))
    assert_equal(first["model"], last["model"])
    assert_equal(first["ema"], last["ema"])
    assert read_metrics(tmp_path / "run")[-1]["out_of_memory_steps"] == 3
    assert "Step left out, 3 of at most 100: iteration 2" in caplog.text
    assert ".png" in caplog.text


def test_a_step_is_computed_with_activation_checkpointing(toy_config, tmp_path, monkeypatch, caplog):
    train(toy_config("train.max_iter=1", folder="whole", config=DINO_CONFIG))
    forward = DeformableEncoder.forward

    def short_of_memory(self, *arguments):
        if self.training and not self.activation_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, *arguments)

    monkeypatch.setattr(DeformableEncoder, "forward", short_of_memory)
    train(toy_config("train.max_iter=1", "train.out_of_memory.action=recompute", config=DINO_CONFIG))
    whole, run = (read_checkpoint(tmp_path / folder / "model_final.pth")["model"] for folder in ("whole", "run"))
    for name, weight in whole.items():
        torch.testing.assert_close(run[name], weight, rtol=1e-5, atol=1e-7)
    assert "Step repeated with activation checkpointing, for the 1. time" in caplog.text


def test_too_many_of_them_stop_the_run_with_a_checkpoint(toy_config, tmp_path):
    train(toy_config(*FEW[1:], "train.max_iter=1"))
    options = ["train.out_of_memory={action: skip, max_skipped: 0}", "model.room=3", "train.allow_changed_config=True"]
    with pytest.raises(torch.OutOfMemoryError, match=r"iteration 1: .*max_skipped=0 are allowed"):
        train(toy_config(*FEW, *options), resume=True)
    with pytest.raises(torch.OutOfMemoryError, match="Injected by a test"):
        train(toy_config(*FEW, "model.room=3"), resume=True)
    assert read_checkpoint(tmp_path / "run" / "model_final.pth")["iteration"] == 0


def test_an_unknown_action_is_refused(toy_config):
    with pytest.raises(ValueError, match=r"action has to be one of stop, skip, split, recompute, got 'wait'"):
        train(toy_config("train.out_of_memory.action=wait"))


def test_gradients_are_averaged_in_buckets_and_a_missing_one_is_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(out_of_memory, "BUCKET", 16)  # bytes: two buckets for three numbers of four bytes and a matrix

    def average(rank):
        parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((), (2, 2), (1,))]
        for number, parameter in enumerate(parameters):
            if rank or number != 1:
                parameter.grad = torch.full_like(parameter, 1.0 + number + rank)
        out_of_memory.average_gradients(parameters)
        return [parameter.grad.tolist() for parameter in parameters]

    assert in_two_processes(average, tmp_path) == [[1.5, [[1.5, 1.5], [1.5, 1.5]], [3.5]]] * 2
