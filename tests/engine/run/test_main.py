"""The main program, as the README calls it."""

import pytest

from querydet.engine import argument_parser, main
from tests.engine.conftest import CONFIG
from tests.engine.test_train_net import read_metrics


def run_main(*arguments):
    main(argument_parser().parse_args(["--config-file", CONFIG, "--num-gpus", "0", *arguments]))


def test_commands_of_the_readme(tmp_path, capsys):
    """Train, refuse to overwrite, continue for longer, evaluate."""
    folder = tmp_path / "run"
    options = [f"train.output_dir={folder}", "train.max_iter=5"]
    run_main(*options)
    assert {path.name for path in folder.glob("*.pth")} == {"model_0000003.pth", "model_final.pth", "model_best.pth"}
    with pytest.raises(ValueError, match="earlier run: continue it with --resume"):
        run_main(*options)
    capsys.readouterr()
    run_main("--resume", f"train.output_dir={folder}", "train.max_iter=6")
    printed = capsys.readouterr().out
    assert "Starting training from iteration 5" in printed
    assert "iter: 5" in printed
    assert "copypaste: Task: bbox" in printed
    assert [line["iteration"] for line in read_metrics(folder)] == [1, 3, 5]  # as if it had been started for 6
    run_main("--resume", *options)  # complete: evaluates only
    assert "iter: " not in capsys.readouterr().out.partition("Starting training")[2]
    run_main("--eval-only", f"train.output_dir={tmp_path / 'eval'}", f"train.init_checkpoint={folder}/model_best.pth")
    assert "copypaste: Task: bbox" in capsys.readouterr().out
