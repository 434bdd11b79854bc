"""Test data of a config: whether there are any, and with which classes."""

import logging

import pytest
from omegaconf import OmegaConf

from querydet.data import DetrDatasetMapper, class_names, first, join_datasets, load_coco, without_first
from querydet.data.validation_set import (
    as_trained,
    load_test_data,
    need_test_data,
    warn_of_differences,
    why_no_test_data,
    with_masks,
)


def config(dataset, **others):
    return OmegaConf.create({"dataloader": {"test": {"dataset": dataset}, **others}}, flags={"allow_objects": True})


def coco(annotations, images, **others):
    return {"_target_": "querydet.data.load_coco", "annotations": annotations, "images": images, **others}


@pytest.mark.parametrize(
    ("dataloader", "key"),
    [
        ({}, "dataloader.test"),
        ({"test": None}, "dataloader.test"),
        ({"test": {"dataset": None}}, "dataloader.test.dataset"),
        ({"test": {"dataset": {"a": 1}}}, ""),
    ],
)
def test_null_and_absent_mean_none(dataloader, key):
    cfg = OmegaConf.create({"dataloader": dataloader})
    assert why_no_test_data(cfg) == key
    if key:
        with pytest.raises(ValueError, match=f"no test data, as {key} is null"):
            need_test_data(cfg)
        assert as_trained(cfg, ["cat"]) is cfg
    else:
        need_test_data(cfg)


def test_classes_of_the_model_reach_the_data_and_what_refers_to_them(write_coco, coco_json):
    cfg = config(coco(*write_coco(coco_json)), evaluator={"dataset": "${..test.dataset}"})
    changed = as_trained(cfg, ["toothbrush", "dog", "car"])
    assert "classes" not in cfg.dataloader.test.dataset
    assert list(changed.dataloader.evaluator.dataset.classes) == ["toothbrush", "dog", "car"]
    assert class_names(load_test_data(cfg, ["toothbrush", "dog", "car"])) == ["toothbrush", "dog", "car"]
    assert class_names(load_test_data(cfg)) == ["car", "dog", "toothbrush"]


def test_test_data_need_no_annotations(write_coco, coco_json):
    del coco_json["annotations"]
    cfg = config(coco(*write_coco(coco_json)))
    assert not load_test_data(cfg).annotated
    cfg.dataloader.test.dataset.need_annotations = True
    with pytest.raises(ValueError, match="missing list at the top level: 'annotations'"):
        load_test_data(cfg)


def test_loaders_of_other_data_are_left_alone():
    for target in ("querydet.data.load_synthetic", "no.such.function", 7):
        cfg = config({"_target_": target})
        assert as_trained(cfg, ["cat"]) is cfg


def test_masks_of_the_test_data_are_loaded_where_wanted(write_coco, coco_json):
    for item in coco_json["annotations"]:
        x, y, w, h = item["bbox"]
        item["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    cfg = config(coco(*write_coco(coco_json)))
    changed = with_masks(cfg)
    assert "masks" not in cfg.dataloader.test.dataset
    for node, expected in ((cfg, False), (changed, True)):
        items = [item for record in load_test_data(node) for item in record["annotations"]]
        assert items
        assert ["segmentation" in item for item in items] == [expected] * len(items)
    for target in ("querydet.data.json_file.read_json", "no.such.function"):
        assert with_masks(other := config({"_target_": target})) is other


def test_what_the_test_data_are_made_of_has_the_classes_too(write_coco, coco_json):
    node = {"_target_": "querydet.data.first", "dataset": coco(*write_coco(coco_json)), "count": 2}
    joined = config({"_target_": "querydet.data.join_datasets", "datasets": [node]})
    names = ["toothbrush", "dog", "car"]
    for cfg in (config(node), joined):
        dataset = load_test_data(cfg, names)
        assert class_names(dataset) == names
        assert [record["image_id"] for record in dataset] == [7, 9]
    del coco_json["annotations"]
    write_coco(coco_json)
    assert not load_test_data(joined, names).annotated
    inner = with_masks(joined).dataloader.test.dataset.datasets[0].dataset
    assert inner.masks is True


def test_parts_of_one_file_are_no_leak_unless_they_share_images(write_coco, coco_json, caplog):
    dataset = load_coco(*write_coco(coco_json))
    cfg = config({})
    with caplog.at_level(logging.WARNING):
        warn_of_differences(cfg, join_datasets([without_first(dataset, 1)]), first(dataset, 1))
        assert "training and the test data" not in caplog.text
        warn_of_differences(cfg, join_datasets([without_first(dataset, 1)]), first(dataset, 2))
    assert caplog.text.count("train.json is both the training and the test data") == 1


def test_one_file_for_both_and_different_rules_are_said(write_coco, coco_json, caplog):
    train, test = (load_coco(*write_coco(coco_json, name)) for name in ("train", "test"))
    mapper = {"_target_": DetrDatasetMapper, "is_train": True, "augmentations": []}
    cfg = OmegaConf.create(
        {"dataloader": {split: {"mapper": mapper} for split in ("train", "test")}}, flags={"allow_objects": True}
    )
    with caplog.at_level(logging.WARNING):
        warn_of_differences(cfg, train, test)
        warn_of_differences(cfg, [], [])
        assert not caplog.records
        warn_of_differences(cfg, train, train)
        assert "train.json is both the training and the test data" in caplog.text
        cfg.dataloader.test.mapper.exif = "ignore"
        warn_of_differences(cfg, train, test)
    assert "read by different rules" in caplog.text
