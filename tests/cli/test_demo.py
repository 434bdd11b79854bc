"""The demo as a process: it says where it is, answers, and ends on Ctrl-C."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch

from querydet.config import load_config
from querydet.engine import build_model
from tests.engine.conftest import DINO_CONFIG

ROOT = Path(__file__).resolve().parents[2]


def test_bad_arguments_are_explained(cli, tmp_path, capsys):
    with pytest.raises(ValueError, match="no model to show"):
        cli("demo").main([])
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        cli("demo").main(["--config-file", DINO_CONFIG, "--weights", str(tmp_path / "none.pth")])
    with pytest.raises(SystemExit, match="0"):
        cli("demo").main(["--help"])
    assert "127.0.0.1" in capsys.readouterr().out


@pytest.mark.slow
def test_the_server_runs_until_it_is_interrupted(tmp_path):
    pytest.importorskip("flask", reason="needs Flask: pip install 'querydet[demo]'")
    torch.save({"model": build_model(load_config(DINO_CONFIG)).state_dict()}, tmp_path / "a.pth")
    command = [sys.executable, "-m", "querydet", "demo", "--port", "0", "train.device=cpu"]
    command += ["--config-file", DINO_CONFIG, "--weights", str(tmp_path / "a.pth")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        address = process.stdout.readline().split(" at ")[1].split()[0]
        with urllib.request.urlopen(address) as answer:
            assert b"querydet" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().strip() == "stopped"
    assert process.returncode == 0
