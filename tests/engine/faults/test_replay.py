"""A dumped step, repeated."""

import pytest
import torch

from querydet.engine import NonFiniteError, build_model, train
from querydet.engine.faults.replay import load_dump, replay
from tests.engine.conftest import ROOT
from tests.engine.faults.replay_tool import run_tool
from tests.engine.test_train_net import read_metrics

FEW = ["train.max_iter=4", "train.log_period=1"]


def test_the_step_is_repeated_with_its_noise_and_dropout(toy_config, tmp_path, monkeypatch):
    options = [*FEW, "model.dropout=0.3"]
    train(toy_config(*options, folder="whole"))
    with pytest.raises(NonFiniteError):
        train(toy_config(*options, "model.nan_at=3"))
    (path,) = (tmp_path / "run").glob("nonfinite_0000002_rank0.pt")
    lines = replay(build_model(toy_config(*options)), load_dump(str(path)))
    expected = read_metrics(tmp_path / "whole")[2]
    for name in ("loss_box", "loss_class"):
        assert f"{name} = {torch.tensor(expected[name]).item():.6g}" in lines
    assert run_tool(monkeypatch, path, "--config-file", str(ROOT / "tests/engine/toy_config.py")) == 1


@pytest.mark.parametrize("content", [b"", b"\x80\x02]q\x00.", b"x" * 100])
def test_what_is_no_dump_is_refused(tmp_path, content):
    (tmp_path / "nonfinite.pt").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a dump"):
        load_dump(str(tmp_path / "nonfinite.pt"))
    with pytest.raises(FileNotFoundError, match="is a directory"):
        load_dump(str(tmp_path))
