"""Faults that a run survives: images, evaluations; and one that it must not: processes that differ."""

import json

import pytest
import torch

from querydet.data.workers import WorkerError
from querydet.engine import train
from querydet.engine.faults.bad_images import TooManyBadImagesError
from querydet.engine.hooks.divergence import checksums
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics
from tests.engine.toy import ToyDetector, ToyEvaluator

FEW = ["train.max_iter=4", "train.log_period=1"]


def from_folder(cfg, root):
    cfg.dataloader.train.dataset.root = cfg.dataloader.test.dataset.root = str(root)
    return cfg


def test_unusable_images_are_replaced_counted_and_reported(toy_config, tmp_path, caplog):
    data = tmp_path / "data"
    train(from_folder(toy_config("train.max_iter=1", folder="good"), data))
    files = sorted(data.glob("train*/images/*.png"))
    files[3].write_bytes(files[3].read_bytes()[:100])
    files[5].write_bytes(b"")
    options = ["dataloader.train.mapper.on_bad_image=skip", "train.max_bad_images=0.2"]
    train(from_folder(toy_config(*FEW, *options, folder="whole"), data))
    # an epoch shows every image once; an image beside another bad one takes its place
    counts = json.loads((tmp_path / "whole" / "bad_images.json").read_text())
    assert set(counts) == {str(files[3]), str(files[5])}
    assert "2 training images could not be used and were replaced by others" in caplog.text
    logged = [line["bad_images"] for line in read_metrics(tmp_path / "whole") if "bad_images" in line]
    assert logged[-1] == sum(counts.values())
    train(from_folder(toy_config(*FEW[1:], *options, "train.max_iter=2"), data))
    train(from_folder(toy_config(*FEW, *options), data), resume=True)
    assert_equal(*(read_checkpoint(tmp_path / run / "model_final.pth") for run in ("whole", "run")))
    assert json.loads((tmp_path / "run" / "bad_images.json").read_text()) == counts
    options[1] = "train.max_bad_images=0.1"
    with pytest.raises(TooManyBadImagesError, match="2 of 16 training images cannot be used"):
        train(from_folder(toy_config(*FEW, *options, folder="strict"), data))


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


def test_a_failing_evaluation_leaves_the_model_in_training_mode(toy_config, tmp_path, monkeypatch):
    """Detectron2 leaves it in evaluation mode, without dropout."""
    options = [*FEW, "train.eval_period=2it", "model.dropout=0.3", "train.ema.enabled=False"]
    train(toy_config(*options, folder="whole"))
    predict = ToyDetector._predict
    monkeypatch.setattr(ToyDetector, "_predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(toy_config(*options, "train.max_failed_evaluations=1"))
    monkeypatch.setattr(ToyDetector, "_predict", predict)
    whole, run = (read_checkpoint(tmp_path / name / "model_final.pth")["model"] for name in ("whole", "run"))
    assert_equal(whole, run)


def test_checksums_see_one_bit_and_exchanged_values():
    tensors = [torch.randn(4, 3), torch.randn(5).to(torch.bfloat16), torch.arange(3)]
    sums = checksums(tensors)
    assert torch.equal(sums, checksums([tensor.clone() for tensor in tensors]))
    changed = tensors[0].clone()
    changed.view(torch.int32)[2, 1] ^= 1
    assert checksums([changed])[0] != sums[0]
    assert checksums([tensors[0][[1, 0, 2, 3]]])[0] != sums[0]
    assert checksums([-tensors[1]])[0] != sums[1]


def test_a_killed_worker_changes_nothing(toy_config, tmp_path, monkeypatch, caplog):
    train(toy_config(*FEW, folder="whole"))
    monkeypatch.setenv("TOY_KILL", "step 2 worker")
    train(toy_config(*FEW, "dataloader.train.num_workers=1"))
    assert "was killed by SIGKILL; the next batch is of" in caplog.text
    assert_equal(*(read_checkpoint(tmp_path / run / "model_final.pth") for run in ("whole", "run")))


def test_workers_that_fail_too_often_end_the_run_with_a_checkpoint(toy_config, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_KILL", "step 2 worker")
    options = ["dataloader.train.num_workers=1", "dataloader.train.worker_restarts=0", "train.max_iter=9"]
    with pytest.raises(WorkerError, match="worker_restarts=0 are allowed"):
        train(toy_config(*options))
    # what had been loaded was used
    saved = (tmp_path / "run" / "last_checkpoint").read_text()
    assert 1 <= read_checkpoint(tmp_path / "run" / saved)["iteration"] < 8
