"""All evaluators together on a real detector, in training and with ``--eval-only``, with and without augmentation."""

import pytest

from querydet.config import get_config
from querydet.engine import build_model, evaluate_only, train
from querydet.engine.evaluation import combine
from querydet.visualization.candidate_pictures import read_ranks
from tests.engine.conftest import DINO_CONFIG
from tests.engine.test_train_net import read_metrics

SHORT = ["train.max_iter=4", "train.log_period=1", "train.checkpointer.period=2it"]


@pytest.fixture(scope="module")
def evaluators():
    found = get_config("common/evaluators.py").evaluators
    del found.lvis  # for LVIS's annotations, in place of coco
    return found


def test_every_measure_during_training_and_afterwards(toy_config, evaluators, tmp_path):
    cfg = toy_config(*SHORT, "train.eval_period=2it", "train.ema.enabled=True", config=DINO_CONFIG)
    cfg.dataloader.evaluator = list(evaluators.values())
    cfg.train.instability.enabled, cfg.train.instability.period = True, "2it"
    evaluators_folder = tmp_path / "evaluators"
    cfg.dataloader.evaluator[2].folder = str(evaluators_folder)  # beside the hook's
    results = train(cfg)
    assert set(results) == {"bbox", "atd", "instability", "recall", "duplicates", "calibration", "candidates"}
    assert {"proposals-AR", "layer1-AR", "layer2-AR"} < set(results["recall"])
    assert results["atd"]["ATD"] > 0
    assert 0 <= results["instability"]["IS"] <= 2 * results["instability"]["objects"]
    assert read_ranks(str(tmp_path / "run"))["IoU"][0] == pytest.approx(results["candidates"]["IoU1"])
    lines = [line for line in read_metrics(tmp_path / "run") if "instability/IS" in line]
    assert [line["instability/IS"] for line in lines] == [-1, results["instability"]["IS"]]
    expected = ["matching_0000002.json", "matching_0000004.json"]
    for folder in (tmp_path / "run" / "matching", evaluators_folder):
        assert sorted(path.name for path in folder.iterdir()) == expected
    again = evaluate_only(cfg, build_model(cfg), resume=True)
    assert again["instability"]["IS"] == 0  # the same weights
    for name in ("bbox", "atd", "recall", "duplicates", "calibration", "candidates"):
        assert again[name] == results[name]

    cfg.dataloader.evaluator = evaluators.coco
    cfg.train.test_time_augmentation.enabled = True
    cfg.train.test_time_augmentation.scales = []
    cfg.train.test_time_augmentation.flip = False
    augmented = evaluate_only(cfg, build_model(cfg), resume=True)["bbox"]
    assert augmented == pytest.approx(results["bbox"], abs=1e-3)  # of a single view
    cfg.train.test_time_augmentation.flip = True
    mirrored = evaluate_only(cfg, build_model(cfg), resume=True)["bbox"]
    assert mirrored["AP"] >= 0
    cfg.dataloader.evaluator = [evaluators.coco, evaluators.atd]
    with pytest.raises(ValueError, match=r"ATDEvaluator measures the queries .* without test-time augmentation"):
        evaluate_only(cfg, build_model(cfg), resume=True)


def test_no_evaluators_are_refused():
    with pytest.raises(ValueError, match=r"dataloader\.evaluator is an empty list"):
        combine([])
