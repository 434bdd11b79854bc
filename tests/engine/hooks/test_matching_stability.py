"""The stability of the matching during training; a whole run is in `tests.engine.test_evaluation`."""

import pytest
from torch import nn

from querydet.config import load_config
from querydet.engine import train
from querydet.engine.hooks.matching_stability import training_assigner
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.detector import QueryDetector
from tests.models import tiny_detector


@pytest.mark.parametrize("name", ["dino", "group_dino", "detr"])
def test_the_assigner_is_that_of_the_decoder(name):
    detector = tiny_detector(name)
    found = training_assigner(detector)
    assert isinstance(found, HungarianAssigner)
    assert found is detector.criterion.rules["decoder"].assigner


@pytest.mark.parametrize("model", [tiny_detector("deta"), nn.Linear(1, 1)])
def test_a_model_without_bipartite_matching_has_none(model):
    assert training_assigner(model) is None


def test_without_test_data_it_is_refused_before_the_first_step(toy_config, tmp_path):
    cfg = toy_config("train.instability.enabled=True")
    del cfg.dataloader.evaluator
    with pytest.raises(ValueError, match=r"train\.instability\.enabled needs test data"):
        train(cfg)
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.parametrize(
    "change",
    [
        "train.instability.enabled=True",
        "dataloader.evaluator._target_=querydet.evaluation.ATDEvaluator",
    ],
)
def test_queries_without_boxes_are_refused_before_the_first_step(change, tmp_path, monkeypatch):
    monkeypatch.setattr(QueryDetector, "forward", lambda *_: pytest.fail("a step was run"))
    root, images = "dataloader.train.dataset.root", ("train.dataset.num_images", "test.dataset.num_images")
    cfg = load_config(
        "convergence_masks/mask2former.py",
        [f"{root}={tmp_path}", f"train.output_dir={tmp_path / 'run'}", "train.device=cpu", change]
        + [f"dataloader.{name}=2" for name in images],
    )
    if "evaluator" in change:
        cfg.dataloader.evaluator = {key: cfg.dataloader.evaluator[key] for key in ("_target_", "dataset")}
    with pytest.raises(ValueError, match=r"queries of ClassHeads have no boxes|compares masks, which are not recorded"):
        train(cfg)
