"""A trial of a run, which keeps nothing."""

import pytest
from omegaconf import OmegaConf

from querydet.engine import argument_parser, main
from querydet.engine.dry_run import _keep_results_in
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


@pytest.mark.parametrize("several", [False, True])
def test_results_of_a_dry_run_stay_in_its_folder(tmp_path, several):
    nodes = [{"output_dir": "/elsewhere"}, {"output_dir": None}, {"output_dir": "/elsewhere"}]
    cfg = OmegaConf.create({"dataloader": {"evaluator": nodes if several else nodes[0]}})
    _keep_results_in(str(tmp_path), cfg)
    evaluators = list(cfg.dataloader.evaluator) if several else [cfg.dataloader.evaluator]
    folders = [node.output_dir for node in evaluators if node.output_dir]
    assert len({*folders}) == len(folders) == (2 if several else 1)
    assert all(folder.startswith(str(tmp_path)) for folder in folders)
    _keep_results_in(str(tmp_path), OmegaConf.create({"dataloader": {"evaluator": None}}))
