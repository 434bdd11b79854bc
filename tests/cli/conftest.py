import importlib

import pytest
import torch

from querydet.config import load_config
from querydet.engine import build_model
from tests.engine.conftest import CONFIG


@pytest.fixture
def cli():
    """Imports the module of a command."""
    return lambda name: importlib.import_module(f"querydet.cli.{name}")


@pytest.fixture
def weights(tmp_path, toy_data):
    """A checkpoint of the toy detector."""
    path = tmp_path / "toy.pth"
    torch.save({"model": build_model(load_config(CONFIG)).state_dict()}, path)
    return str(path)


@pytest.fixture
def config():
    """Path of the toy config."""
    return CONFIG
