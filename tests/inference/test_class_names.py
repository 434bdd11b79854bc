"""The names of a model's classes: given, in the checkpoint, of the test data, or numbers."""

import pytest

from querydet.config import load_config
from querydet.inference.class_names import find_class_names
from tests.engine.conftest import DINO_CONFIG

NAMES = ["one", "two", "three", "four", "five", "six"]


def test_without_any_names_classes_are_numbers() -> None:
    cfg = load_config(DINO_CONFIG)
    cfg.dataloader.test.dataset = {"_target_": "querydet.data.load_coco", "annotations": "no.json", "images": "no"}
    assert find_class_names(cfg, None) == [f"class {index}" for index in range(6)]
    assert find_class_names(cfg, None, NAMES) == NAMES
    with pytest.raises(ValueError, match="2 class names are in the checkpoint, the model has 6 classes"):
        find_class_names(cfg, None, ["a", "b"])
