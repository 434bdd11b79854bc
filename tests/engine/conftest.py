"""Runs of the toy detector."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from querydet.config import load_config
from querydet.engine import argument_parser, launch, main
from tests.engine.forked import run_forked

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "tests" / "engine" / "toy_config.py")
DINO_CONFIG = str(ROOT / "tests" / "engine" / "dino_config.py")


@pytest.fixture(autouse=True)
def quiet_loggers():
    """A run adds handlers to these loggers; the next test wants none of them."""
    yield
    for name in ("fvcore", "detectron2", "querydet"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True


@pytest.fixture
def toy_config(tmp_path):
    """Builds the toy config or another one; its output folder is ``tmp_path / folder``."""

    def build(*overrides, folder="run", config=CONFIG):
        return load_config(config, [f"train.output_dir={tmp_path / folder}", *overrides])

    return build


@pytest.fixture
def train_net():
    """Runs ``train_net.py`` in a process of its own, on the toy config by default; returns the completed process."""

    def run(*arguments, launcher=(), config=CONFIG, timeout=120, **environment):
        command = [sys.executable, *launcher, str(ROOT / "train_net.py"), "--config-file", config, *arguments]
        # One thread: the kernels of a model this small otherwise spend their time waiting for each other.
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout, check=False)

    return run


@pytest.fixture
def train_forked():
    """Runs what ``train_net.py`` does in a forked process, on the toy config; what it prints is ``stdout``."""

    def run(*arguments, **environment):
        return run_forked(run_program, ["train_net.py", "--config-file", CONFIG, *arguments], **environment)

    return run


def run_program():
    launch(main, argument_parser().parse_args())
