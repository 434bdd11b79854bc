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
