"""Real annotations and photographs: BCCD and the first 128 images of COCO, from the folder QUERYDET_TEST_DATA."""

import json
import os

import pytest

from querydet.config import get_config
from querydet.data import DetrDatasetMapper, class_names, detr_train_augmentations, load_coco
from querydet.data.stream import PositionStream

ROOT = os.environ.get("QUERYDET_TEST_DATA", "")
pytestmark = pytest.mark.skipif(not os.path.isdir(ROOT), reason="QUERYDET_TEST_DATA names no folder with real data")


@pytest.mark.parametrize(("split", "images", "boxes"), [("train", 205, 2805), ("val", 87, 1138), ("test", 72, 945)])
def test_bccd(split, images, boxes):
    dataset = load_coco(f"{ROOT}/bccd/annotations/instances_{split}.json", f"{ROOT}/bccd/images")
    assert class_names(dataset) == ["RBC", "WBC", "Platelets"]
    assert len(dataset) == images
    with open(f"{ROOT}/bccd/annotations/instances_{split}.json") as file:
        annotations = json.load(file)["annotations"]
    assert len(annotations) == boxes
    assert boxes - sum(len(record["annotations"]) for record in dataset) < 10


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_coco_is_not_repaired(split, caplog):
    dataset = load_coco(f"{ROOT}/coco128/annotations/instances_{split}.json", f"{ROOT}/coco128/{split}")
    assert len(class_names(dataset)) == 80
    assert len(dataset) == 128
    assert not [record for record in caplog.records if "boxes" in record.getMessage()]


def test_coco_through_the_training_stream():
    dataset = load_coco(f"{ROOT}/coco128/annotations/instances_train2017.json", f"{ROOT}/coco128/train2017")
    mapper = DetrDatasetMapper(is_train=True, augmentations=detr_train_augmentations())
    stream = PositionStream(dataset, mapper, seed=0)
    for position in range(16):
        sample = stream[position]
        height, width = sample["image"].shape[1:]
        assert min(height, width) <= 800
        assert max(height, width) <= 1334
        boxes = sample["instances"].gt_boxes
        assert boxes.nonempty().all()
        assert (boxes.tensor >= 0).all()
        assert (boxes.tensor[:, 2] <= width).all()
        assert (boxes.tensor[:, 3] <= height).all()


def test_bccd_config_finds_the_data(monkeypatch):
    monkeypatch.setenv("QUERYDET_DATA", ROOT)
    dataset = get_config("common/data/bccd.py").dataloader.train.dataset
    assert os.path.isfile(dataset.annotations)
    assert os.path.isdir(dataset.images)
