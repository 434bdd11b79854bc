"""What a model is evaluated on, and what is refused before that."""

import json

import pytest
from PIL import Image

from querydet.engine import build_model, evaluate_only, train


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
        (["dog", "cat"], "class 0 is 'cat' in the training data, but 'dog' in the test data"),
        (["cat"], "model.num_classes is 2, but the data set has 1 classes"),
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


def test_missing_test_data_stops_the_run_before_the_first_step(toy_config, tmp_path):
    cfg = toy_config("train.checkpointer.period=1it")
    cfg.dataloader.test.dataset = {"_target_": "querydet.data.load_coco", "annotations": "no.json", "images": "no"}
    with pytest.raises(FileNotFoundError, match=r"no\.json does not exist"):
        train(cfg)
    assert not list((tmp_path / "run").glob("*.pth"))
