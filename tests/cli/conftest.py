import importlib

import pytest
import torch

from querydet.config import load_config
from querydet.data.validation_set import load_test_data
from querydet.engine import build_model
from tests.engine.conftest import CONFIG


@pytest.fixture
def cli():
    """Imports the module of a command."""
    return lambda name: importlib.import_module(f"querydet.cli.{name}")


@pytest.fixture
def weights(tmp_path, toy_data):
    """A checkpoint of the toy detector, whose test data, which name its classes, are drawn."""
    path, cfg = tmp_path / "toy.pth", load_config(CONFIG)
    load_test_data(cfg)
    torch.save({"model": build_model(cfg).state_dict()}, path)
    return str(path)


@pytest.fixture
def config():
    """Path of the toy config."""
    return CONFIG
