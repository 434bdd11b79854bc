"""What happens before a run."""

import os
import random
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from querydet.engine import argument_parser, setup_run
from querydet.engine.run.setup import check_writable, seed_everything, warn_of_shared_memory


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - mappers use it


def test_draws_depend_on_seed_and_position_only():
    draws = []
    for key in ((0, 1, 0), (0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0)):
        seed_everything(*key)
        draws.append(draw())
        draw()
    assert draws[0] == draws[1]
    assert len(set(draws)) == 4


def test_run_folder_gets_log_and_config(toy_config, tmp_path):
    cfg = toy_config()
    setup_run(cfg, argument_parser().parse_args(["--config-file", "x.py"]))
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "log.txt"}
    assert "Environment info" in (folder / "log.txt").read_text()


def test_evaluation_leaves_the_config_of_the_run_alone(toy_config, tmp_path):
    setup_run(toy_config(), argument_parser().parse_args(["--config-file", "x.py", "--eval-only"]))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config_eval.yaml", "log.txt"}


@pytest.mark.parametrize("folder", ["", "file/below"])
def test_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"train.output_dir"):
        check_writable(folder)


@pytest.mark.parametrize("seed", [-1, None, "x", True])
def test_wrong_seed_is_refused(toy_config, seed):
    cfg = toy_config()
    cfg.train.seed = seed
    with pytest.raises(ValueError, match=r"train.seed"):
        setup_run(cfg, argument_parser().parse_args([]))


@pytest.mark.parametrize(("free", "said"), [(0, True), (64, True), (65, False)])
def test_little_shared_memory_is_named(monkeypatch, caplog, free, said):
    status = SimpleNamespace(f_frsize=4096, f_bavail=free * 256, f_blocks=100 * 256)
    monkeypatch.setattr("os.statvfs", lambda path: status)
    warn_of_shared_memory()
    assert (f"/dev/shm has {free} of 100 MB free" in caplog.text) == ("--shm-size" in caplog.text) == said


def test_a_system_without_shared_memory_is_none_of_our_business(monkeypatch):
    monkeypatch.setattr("querydet.engine.run.setup.SHARED_MEMORY", "/nowhere")
    warn_of_shared_memory()


def test_the_times_of_a_folder_that_is_tried_are_kept(tmp_path, monkeypatch):
    """Also where a temporary file has a name, as on NFS."""
    monkeypatch.setattr("tempfile.TemporaryFile", tempfile.NamedTemporaryFile)
    os.utime(tmp_path, ns=(10**18, 10**18))
    check_writable(str(tmp_path))
    assert tmp_path.stat().st_mtime_ns == 10**18
