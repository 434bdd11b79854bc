import importlib.util
from pathlib import Path

import pytest
import torch

from querydet.config import load_config
from querydet.engine import build_model

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "tests" / "engine" / "toy_config.py")


@pytest.fixture
def tool():
    """Imports a command-line tool by name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


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
