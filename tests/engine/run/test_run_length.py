"""Epochs in iterations."""

import pytest
from omegaconf import OmegaConf

from querydet.engine.run.run_length import RunLength


def length(max_epochs=12, max_iter=None, images=118_287, batch=16):
    return RunLength.from_config(OmegaConf.create({"max_epochs": max_epochs, "max_iter": max_iter}), images, batch)


def test_epochs_of_coco():
    assert length() == RunLength(iterations_per_epoch=7392, max_iter=12 * 7392)


def test_iterations_limit_the_run_and_leave_the_epoch():
    assert length(max_iter=20) == RunLength(7392, 20)


def test_batch_larger_than_the_data_set():
    assert length(images=3, batch=16, max_epochs=5) == RunLength(1, 5)


@pytest.mark.parametrize("wrong", [{"max_epochs": 0}, {"max_epochs": None}, {"max_iter": -1}, {"max_iter": "20"}])
def test_wrong_length_is_refused(wrong):
    with pytest.raises(ValueError, match=f"train.{next(iter(wrong))} has to be a positive number"):
        length(**wrong)


def test_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="no images"):
        length(images=0)


@pytest.mark.parametrize(
    ("value", "iterations"), [(1, 100), (0.5, 50), (0.001, 1), (0, 0), (None, 0), ("30it", 30), ("30 it", 30)]
)
def test_period(value, iterations):
    assert RunLength(100, 1000).period(value, "train.eval_period") == iterations


@pytest.mark.parametrize("value", [-1, "often", True, "1.5it"])
def test_wrong_period_is_refused(value):
    with pytest.raises(ValueError, match=r"train.eval_period is a number of epochs"):
        RunLength(100, 1000).period(value, "train.eval_period")
