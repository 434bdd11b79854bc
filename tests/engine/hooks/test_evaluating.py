"""Evaluation during training: of the weights that count, and with failures that a run survives."""

import pytest

from querydet.engine import build_model, evaluate_only, train
from tests.engine.test_train_net import read_metrics
from tests.engine.toy import ToyEvaluator


def test_average_is_evaluated_and_saved(toy_config, tmp_path):
    cfg = toy_config("train.max_iter=4", "train.ema.decay=0.5", "train.ema.evaluate_raw=True", "optimizer.lr=0.1")
    results = train(cfg)
    assert results["bbox"]["AP"] != results["raw"]["bbox"]["AP"]
    assert {"bbox/AP", "raw/bbox/AP"} <= read_metrics(tmp_path / "run")[-1].keys()
    for ema, expected in ((True, results["bbox"]), (False, results["raw"]["bbox"])):
        cfg.train.ema.enabled = ema
        assert evaluate_only(cfg, build_model(cfg), resume=True)["bbox"] == expected


def test_misspelt_best_metric_is_reported_with_those_that_exist(toy_config, tmp_path, caplog):
    cfg = toy_config("train.max_iter=1", "train.checkpointer.best_metric=bbox/ap")
    train(cfg)
    assert "best_metric=bbox/ap was not evaluated, no model_best.pth is written; there are bbox/AP" in caplog.text
    assert not (tmp_path / "run" / "model_best.pth").exists()


FEW = ["train.max_iter=4", "train.log_period=1"]


def test_a_failing_evaluation_can_be_survived(toy_config, tmp_path, monkeypatch, caplog):
    evaluate, failures = ToyEvaluator.evaluate, []

    def fail_twice(self):
        if len(failures) < 2:
            failures.append(self)
            raise ZeroDivisionError("no images")
        return evaluate(self)

    monkeypatch.setattr(ToyEvaluator, "evaluate", fail_twice)
    options = [*FEW, "train.eval_period=1it"]
    assert train(toy_config(*options, "train.max_failed_evaluations=2"))["bbox"]["AP"] > 0
    assert "Evaluation failed (no images), training goes on; failed in a row: 2" in caplog.text
    failures.clear()
    with pytest.raises(ZeroDivisionError):
        train(toy_config(*options, "train.max_failed_evaluations=1", folder="strict"))
