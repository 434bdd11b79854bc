"""A run that has saved checkpoints."""

import os

import pytest
import torch

from querydet.checkpoint import Checkpointer
from tests.checkpoint.small_detector import Detector


@pytest.fixture
def saved(tmp_path):
    """A run that has saved three iterations and its best model."""
    model = Detector()
    checkpointer = Checkpointer(model, str(tmp_path), optimizer=torch.optim.AdamW(model.parameters()))
    for number, iteration in enumerate((9, 19, 29)):
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        os.utime(tmp_path / f"model_{iteration:07d}.pth", (number, number))
    checkpointer.save("model_best", tag=False, iteration=9)
    return checkpointer
