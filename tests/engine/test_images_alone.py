"""Test data without annotations, as COCO's test-dev: from the published form of the json to the file for the server."""

import json
import zipfile

import numpy as np
import pytest
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from PIL import Image

from querydet.checkpoint import Checkpointer
from querydet.config import get_config
from querydet.data import first, load_coco
from querydet.engine import build_model, evaluate_only, train
from querydet.evaluation import CocoEvaluator
from tests.engine.conftest import DINO_CONFIG

SIDE, CATEGORIES = 64, [{"id": 10 * number, "name": f"class {number}"} for number in range(1, 7)]


def write(folder, name, ids, annotated):
    """Write a json as COCO publishes them, and its images; returns the node that reads it."""
    images = [
        {"license": 1, "file_name": f"{number:012d}.jpg", "coco_url": f"http://images/{number:012d}.jpg"}
        | {"height": SIDE, "width": SIDE, "date_captured": "2013-11-14", "id": number}
        for number in ids
    ]
    content = {"info": {"year": 2017}, "images": images, "licenses": [{"id": 1, "name": ""}], "categories": CATEGORIES}
    if annotated:
        content["annotations"] = [
            {"id": number, "image_id": number, "category_id": 10, "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0}
            for number in ids
        ]
    (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for image in images:
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name / image["file_name"])
    (folder / f"{name}.json").write_text(json.dumps(content))
    return L(load_coco)(annotations=str(folder / f"{name}.json"), images=str(folder / name))


@pytest.fixture
def config(toy_config, tmp_path):
    """DINO of a few weights, with training data that have annotations and test data that have none."""
    cfg = toy_config("train.max_iter=1", "train.checkpointer.best_metric=''", config=DINO_CONFIG)
    cfg.dataloader.train.dataset = write(tmp_path, "instances_train2017", range(1, 4), annotated=True)
    cfg.dataloader.test.dataset = write(tmp_path, "image_info_test-dev2017", range(5, 10), annotated=False)
    cfg.dataloader.evaluator = get_config("common/data/coco_test_dev.py").dataloader.evaluator
    return cfg


def read(folder):
    with zipfile.ZipFile(folder / "detections_test-dev2017_querydet_results.zip") as archive:
        return json.loads(archive.read("detections_test-dev2017_querydet_results.json"))


def test_a_run_ends_with_the_detections_and_pretends_no_ap(config, tmp_path):
    assert train(config) == {}
    assert {entry["image_id"] for entry in read(tmp_path / "run" / "inference")} == set(range(5, 10))
    assert not (tmp_path / "run" / "model_best.pth").exists()
    assert "AP" not in (tmp_path / "run" / "metrics.json").read_text()


@pytest.mark.parametrize(("views", "count"), [(False, 5), (True, 2)])
def test_weights_are_evaluated_to_the_file_for_the_server(config, tmp_path, views, count):
    """Also on several views of an image, and on a part of the images."""
    Checkpointer(build_model(config), str(tmp_path)).save("weights")
    config.train.init_checkpoint = str(tmp_path / "weights.pth")
    config.train.test_time_augmentation = {"enabled": views, "scales": [0.5], "flip": True, "ensemble": None}
    config.dataloader.test.dataset = L(first)(dataset=config.dataloader.test.dataset, count=count)
    assert evaluate_only(config, build_model(config), resume=False) == {}
    found = read(tmp_path / "run" / "inference")
    assert {entry["image_id"] for entry in found} == set(range(5, 5 + count))
    assert {entry["category_id"] for entry in found} <= set(range(10, 70, 10))


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ("train.checkpointer.best_metric=bbox/AP", r"train\.checkpointer\.best_metric=bbox/AP \(empty: .*json: its"),
        ("train.instability.enabled=True", "InstabilityEvaluator compares with annotations"),
    ],
)
def test_what_reads_metrics_is_refused_before_the_first_step(config, tmp_path, switch, message):
    key, _, value = switch.partition("=")
    OmegaConf.update(config, key, True if value == "True" else value)
    with pytest.raises(ValueError, match=message):
        train(config)
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.parametrize("name", ["atd", "recall", "duplicates", "calibration", "candidates", "instability"])
def test_measures_of_images_alone_are_refused(config, name):
    config.dataloader.evaluator = [L(CocoEvaluator)(dataset="${...test.dataset}")]
    config.dataloader.evaluator.append(get_config("common/evaluators.py").evaluators[name])
    with pytest.raises(ValueError, match="Evaluator compares with annotations, but the data set lists images alone in"):
        train(config)
