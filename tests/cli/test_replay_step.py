"""``querydet replay``: a dumped step, from the command line."""

import pytest

from querydet.cli import replay_step
from querydet.engine import NonFiniteError, train
from tests.engine import conftest

toy_config = conftest.toy_config  # a fixture


@pytest.mark.parametrize(
    ("override", "status", "verdict"), [((), 1, "All is finite"), (("model.nan_at=1",), 0, "again")]
)
def test_the_config_beside_the_dump_is_used_and_the_verdict_is_the_exit_status(
    override,
    status,
    verdict,
    toy_config,
    tmp_path,
    capsys,
):
    cfg = toy_config("train.max_iter=3", "model.nan_at=2")
    with pytest.raises(NonFiniteError):
        train(cfg)
    (dump,) = (tmp_path / "run").glob("nonfinite_*.pt")
    config = ["--config-file", "tests/engine/toy_config.py"]
    assert replay_step.main([str(dump), *override, *config]) == status
    printed = capsys.readouterr().out
    assert "What the run reported:\niteration 1" in printed
    assert verdict in printed.splitlines()[-1]


def test_frozen_parts_are_frozen_as_in_the_run(toy_config, tmp_path, capsys):
    cfg = toy_config("train.max_iter=3", "model.nan_at=2", "train.freeze=[backbone]")
    with pytest.raises(NonFiniteError):
        train(cfg)
    (dump,) = (tmp_path / "run").glob("nonfinite_*.pt")
    replay_step.main([str(dump), "train.freeze=[backbone]", "--config-file", "tests/engine/toy_config.py"])
    (norms,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("gradient norms"))
    assert "box_head" in norms
    assert "backbone" not in norms


def test_losses_that_draw_classes_get_the_counts_of_the_training_data(toy_config, tmp_path, monkeypatch):
    with pytest.raises(NonFiniteError):
        train(toy_config("train.max_iter=3", "model.nan_at=2"))
    (dump,) = (tmp_path / "run").glob("nonfinite_*.pt")
    given = []
    monkeypatch.setattr(replay_step, "needs_class_counts", lambda model: True)
    monkeypatch.setattr(replay_step, "give_class_counts", lambda model, dataset: given.append(len(dataset)))
    replay_step.main([str(dump), "--config-file", "tests/engine/toy_config.py"])
    assert given == [16]
