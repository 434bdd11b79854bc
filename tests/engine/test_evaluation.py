"""Evaluation: what is refused before it, all measures together, and what it leaves behind."""

import json

import pytest
from detectron2.config import LazyCall as L
from PIL import Image

from querydet.config import get_config
from querydet.data import class_names
from querydet.engine import build_model, evaluate_only, train
from querydet.engine.evaluation import build_evaluation, combine
from querydet.evaluation import CocoEvaluator
from querydet.visualization.candidate_pictures import read_ranks
from tests.engine.conftest import DINO_CONFIG
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics
from tests.engine.toy import ToyDetector


def test_evaluation_needs_weights(toy_config):
    cfg = toy_config()
    for resume in (False, True):
        with pytest.raises(ValueError, match="--eval-only needs weights"):
            evaluate_only(cfg, build_model(cfg), resume)


def write_classes(folder, name, categories):
    """A COCO json of one image with one object of the last category; returns the overrides that load it as ``name``."""
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": len(categories), "bbox": [4, 4, 20, 20]}],
        "categories": [{"id": index, "name": category} for index, category in enumerate(categories, start=1)],
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    return {"_target_": "querydet.data.load_coco", "annotations": str(folder / f"{name}.json"), "images": str(folder)}


@pytest.mark.parametrize(
    ("tested", "message"),
    [
        (
            ["cat", "cow"],
            r"test\.json: the model was not trained on 'cow' \(1 annotations\); its classes are 'cat', 'dog'",
        ),
        (["cat", "dog", "cow"], r"test\.json: the model was not trained on 'cow'"),
    ],
)
def test_other_classes_for_testing_are_refused_before_the_first_step(toy_config, tmp_path, tested, message):
    cfg = toy_config("model.num_classes=2", "train.max_iter=1")
    cfg.dataloader.train.dataset = write_classes(tmp_path, "train", ["cat", "dog"])
    cfg.dataloader.test.dataset = write_classes(tmp_path, "same", ["cat", "dog"])
    train(cfg)
    cfg.dataloader.test.dataset = write_classes(tmp_path, "test", tested)
    with pytest.raises(ValueError, match=message):
        evaluate_only(cfg, build_model(cfg), resume=True)
    cfg.train.output_dir = str(tmp_path / "second")
    with pytest.raises(ValueError, match=message):
        train(cfg)
    assert not list((tmp_path / "second").glob("*.pth"))


@pytest.mark.parametrize("tested", [["dog", "cat"], ["dog"], ["cat", "dog"]])
def test_classes_of_test_data_are_matched_by_name(toy_config, tmp_path, tested):
    cfg = toy_config("model.num_classes=2", "train.max_iter=1")
    cfg.dataloader.train.dataset = write_classes(tmp_path, "train", ["cat", "dog"])
    cfg.dataloader.test.dataset = write_classes(tmp_path, "test", tested)
    cfg.dataloader.evaluator = L(CocoEvaluator)(dataset="${..test.dataset}", backend="pycocotools")
    train(cfg)
    found = evaluate_only(cfg, build_model(cfg), resume=True)["bbox"]
    evaluation = build_evaluation(cfg, ["cat", "dog"])
    assert class_names(evaluation.loader.dataset) == ["cat", "dog"]
    (item,) = evaluation.loader.dataset.record(0)["annotations"]
    assert ["cat", "dog"][item["category_id"]] == tested[-1]
    assert found.keys() >= {"AP-cat", "AP-dog"}
    assert (found["AP-cat"] == -1) == (tested[-1] != "cat")  # of the other class there is no object


@pytest.mark.parametrize(
    "switches",
    [
        ["dataloader.evaluator=null"],
        ["dataloader.test=null"],
        ["dataloader.test.dataset=null"],
        ["dataloader.evaluator=null", "dataloader.test=null"],
    ],
)
def test_no_test_data_are_said_once_and_train(toy_config, tmp_path, switches, caplog):
    cfg = toy_config("train.max_iter=2", "train.eval_period=1", "train.pictures.enabled=True", *switches)
    assert train(cfg) == {}
    assert caplog.text.count("nothing is evaluated") == 1
    assert (tmp_path / "run" / "model_final.pth").is_file()
    assert evaluate_only(cfg, build_model(cfg), resume=True) == {}


def test_images_without_annotations_end_with_a_file_of_detections(toy_config, tmp_path, caplog):
    cfg = toy_config("model.num_classes=2", "train.max_iter=1")
    cfg.dataloader.train.dataset = write_classes(tmp_path, "train", ["cat", "dog"])
    cfg.dataloader.test.dataset = write_classes(tmp_path, "test", ["cat", "dog"])
    cfg.dataloader.evaluator = L(CocoEvaluator)(dataset="${..test.dataset}", output_dir=None, backend="pycocotools")
    train(cfg)
    content = json.loads((tmp_path / "test.json").read_text())
    del content["annotations"]
    (tmp_path / "test.json").write_text(json.dumps(content))
    assert evaluate_only(cfg, build_model(cfg), resume=True) == {}
    path = tmp_path / "run" / "inference" / "coco_instances_results.json"
    assert caplog.text.count("no annotations to compare with; the detections of all images are in") == 1
    assert {entry["image_id"] for entry in json.loads(path.read_text())} <= {1}
    cfg.dataloader.train.dataset.annotations = str(tmp_path / "test.json")
    cfg.train.output_dir = str(tmp_path / "second")
    with pytest.raises(ValueError, match="it can be evaluated, not trained on"):
        train(cfg)


def test_missing_test_data_stops_the_run_before_the_first_step(toy_config, tmp_path):
    cfg = toy_config("train.checkpointer.period=1it")
    cfg.dataloader.test.dataset = {"_target_": "querydet.data.load_coco", "annotations": "no.json", "images": "no"}
    with pytest.raises(FileNotFoundError, match=r"no\.json does not exist"):
        train(cfg)
    assert not list((tmp_path / "run").glob("*.pth"))


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


FEW = ["train.max_iter=4", "train.log_period=1"]


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
