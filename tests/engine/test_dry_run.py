"""A trial of a run, which keeps nothing."""

import pytest

from querydet.engine import argument_parser, main
from tests.engine.conftest import CONFIG


def test_a_dry_run_estimates_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    folder, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    arguments = ["--config-file", CONFIG, "--num-gpus", "0", "--dry-run", f"train.output_dir={folder}"]
    main(argument_parser().parse_args([*arguments, "train.max_epochs=7", "train.wandb.enabled=True"]))
    printed = capsys.readouterr().out.partition("Dry run")[2]
    for row in ("computing a step", "an epoch", "an evaluation", "the run", "memory so far", "a checkpoint"):
        assert row in printed
    assert not folder.exists()
    assert list(scratch.iterdir()) == []


def test_a_dry_run_finds_what_the_run_would_stumble_over(tmp_path):
    arguments = ["--config-file", CONFIG, "--num-gpus", "0", "--dry-run", f"train.output_dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match=r"set model.num_classes=6"):
        main(argument_parser().parse_args([*arguments, "model.num_classes=5"]))
