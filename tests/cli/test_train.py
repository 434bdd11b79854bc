"""``querydet train`` and ``querydet eval``."""

import json
import os
import subprocess
import sys

import pytest
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from querydet.cli import commands, train
from querydet.config import apply_overrides
from querydet.engine import argument_parser
from querydet.evaluation import CocoEvaluator
from querydet.utils.targets import check_targets
from tests.engine.conftest import CONFIG, ROOT
from tests.engine.forked import run_forked


@pytest.fixture
def launched(monkeypatch):
    """Arguments that training is launched with."""
    calls = []
    monkeypatch.setattr(train, "launch", lambda function, args: calls.append((function, args)))
    return calls


def test_options_are_those_of_train_net(launched):
    argv = ["--config-file", "x.py", "--num-gpus", "0", "--num-processes", "2", "--resume", "--dry-run", "a.b=1"]
    assert train.main(argv) == 0
    ((function, args),) = launched
    assert function is train.run
    assert vars(args) == vars(argument_parser().parse_args(argv))


def test_evaluation_is_training_with_eval_only(launched):
    assert train.evaluate(["--config-file", "x.py", "--weights", "a b=c.pth", "model.num_classes=3"]) == 0
    ((_, args),) = launched
    assert args.eval_only
    assert args.opts == ["model.num_classes=3", 'train.init_checkpoint="a b=c.pth"']
    train.evaluate(["--config-file", "x.py", "--resume"])
    assert (launched[1][1].opts, launched[1][1].resume) == ([], True)


def test_a_submission_replaces_all_evaluators(launched):
    train.evaluate(["--config-file", "x.py", "--resume", "--submission", "my-detector.v2"])
    for evaluator in (L(CocoEvaluator)(dataset="${..test.dataset}", backend="auto"), [L(CocoEvaluator)()], None):
        cfg = OmegaConf.create(
            {"dataloader": {"test": {"dataset": 5}, "evaluator": evaluator}, "train": {"output_dir": "out"}},
            flags={"allow_objects": True},
        )
        found = apply_overrides(cfg, launched[0][1].opts).dataloader.evaluator
        assert found == {
            "_target_": "querydet.evaluation.submission.SubmissionWriter",
            **{"dataset": 5, "name": "my-detector.v2", "output_dir": "out/inference"},
        }
        check_targets(found)


@pytest.mark.parametrize("command", ["train", "eval"])
def test_a_missing_config_is_explained(command):
    with pytest.raises(ValueError, match="--config-file is missing"):
        (train.main if command == "train" else train.evaluate)([])


def run_command():
    sys.exit(commands.main())


def test_a_detector_is_trained_and_evaluated(tmp_path):
    options, output = ["--config-file", CONFIG, "--num-gpus", "0"], f"train.output_dir={tmp_path / 'run'}"
    command = [sys.executable, "-m", "querydet", "train", *options, "train.max_iter=1", output]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (part,) = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "train --config-file" in part["command"]
    evaluate = ["querydet", "eval", *options, "--weights", str(tmp_path / "run" / "model_final.pth"), output]
    done = run_forked(run_command, evaluate)
    assert done.returncode == 0, done.stdout
    assert "copypaste: AP" in done.stdout
