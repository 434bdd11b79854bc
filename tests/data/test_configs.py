"""The shipped data configs: they build, follow their own paths, and hold the published numbers."""

import inspect
import itertools
import json
import os

import pytest
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from omegaconf import OmegaConf

from querydet.config import apply_overrides, find_config, get_config, save_config
from querydet.data import (
    augmentation,
    class_names,
    detr_test_augmentations,
    detr_train_augmentations,
    large_scale_jitter,
)

CONFIGS = ["coco", "coco_instance", "coco_instance_lsj", "bccd", "synthetic"]


def data_config(name, *overrides):
    return apply_overrides(get_config(f"common/data/{name}.py"), overrides)


@pytest.fixture
def four_paths(write_coco, coco_json):
    train = write_coco(coco_json, "train")
    coco_json["images"] = coco_json["images"][:2]
    val = write_coco(coco_json, "val")
    keys = ("train.dataset.annotations", "train.dataset.images", "test.dataset.annotations", "test.dataset.images")
    return [f"dataloader.{key}={path}" for key, path in zip(keys, (*train, *val), strict=True)]


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_data_loader_is_defined_and_it_saves(name, tmp_path):
    cfg = data_config(name)
    assert set(cfg) == {"dataloader"}
    assert set(cfg.dataloader) == {"train", "test", "evaluator"}
    save_config(cfg, str(tmp_path / "saved.yaml"))
    saved = LazyConfig.load(str(tmp_path / "saved.yaml"))
    assert saved.dataloader.evaluator.dataset._target_ == saved.dataloader.test.dataset._target_


def test_coco_has_the_published_numbers():
    cfg = data_config("coco").dataloader
    for node, function in (
        (cfg.train.mapper.augmentations, detr_train_augmentations),
        (cfg.test.mapper.augmentations, detr_test_augmentations),
    ):
        for name, parameter in inspect.signature(function).parameters.items():
            default = parameter.default
            assert node[name] == (list(default) if isinstance(default, tuple) else default), name
    assert cfg.train.total_batch_size == 16
    assert cfg.test.batch_size == 1
    assert list(cfg.train.mapper.augmentations.short_sides) == list(range(480, 801, 32))
    assert (augmentation.MAX_SIDE, augmentation.CROP_SHORT_SIDES) == (1333, (400, 500, 600))


def test_a_custom_data_set_is_four_paths(four_paths):
    cfg = data_config("coco", *four_paths, "dataloader.train.num_workers=0", "dataloader.test.num_workers=0")
    train = instantiate(cfg.dataloader.train)
    assert len(train.dataset) == 3
    assert class_names(train.dataset) == ["car", "dog", "toothbrush"]
    assert len(next(iter(train))) == 16
    assert [sample["image_id"] for batch in instantiate(cfg.dataloader.test) for sample in batch] == [7, 9]
    assert sorted(instantiate(cfg.dataloader.evaluator)._coco_api.imgs) == [7, 9]  # follows dataloader.test


def test_a_custom_config_is_a_few_lines(four_paths, tmp_path):
    path = tmp_path / "mine.py"
    lines = [
        "from querydet.config import get_config",
        "dataloader = get_config('common/data/coco.py').dataloader",
    ]
    lines += [f"{key} = {value!r}" for key, value in (text.split("=", 1) for text in four_paths)]
    path.write_text("\n".join(lines))
    cfg = get_config(str(path))
    assert len(instantiate(cfg.dataloader.evaluator)._coco_api.imgs) == 2


def test_paths_come_from_the_environment(monkeypatch):
    assert data_config("bccd").dataloader.train.dataset.images == os.path.join("datasets", "bccd", "images")
    monkeypatch.setenv("QUERYDET_DATA", "/data")
    monkeypatch.setenv("DETECTRON2_DATASETS", "/d2")
    assert data_config("bccd").dataloader.test.dataset.images == "/data/bccd/images"
    assert data_config("coco").dataloader.test.dataset.images == "/d2/coco/val2017"
    assert data_config("synthetic").dataloader.train.dataset.root == "/data/synthetic"


def test_synthetic_builds_and_its_parts_follow_each_other(tmp_path):
    overrides = [f"dataloader.train.dataset.root={tmp_path}", "dataloader.train.dataset.num_images=4"]
    overrides += ["dataloader.test.dataset.num_images=3", "dataloader.train.dataset.image_size=64"]
    overrides += ["dataloader.train.dataset.style.max_objects=2", "dataloader.train.num_workers=0"]
    cfg = data_config("synthetic", *overrides, "dataloader.test.num_workers=0").dataloader
    batch = next(iter(instantiate(cfg.train)))
    assert len(batch) == 8
    assert all(sample["image"].shape[1] in (112, 128, 144) for sample in batch)
    test = list(itertools.chain.from_iterable(instantiate(cfg.test)))
    assert [(sample["height"], sample["image"].shape[1]) for sample in test] == [(64, 128)] * 3
    assert len(instantiate(cfg.evaluator)._coco_api.imgs) == 3
    for folder in tmp_path.glob("*_*/annotations.json"):
        assert json.loads(folder.read_text())["info"]["style"]["max_objects"] == 2


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped(name):
    assert os.path.isfile(find_config(f"common/data/{name}.py"))


def test_masks_and_large_scale_jitter_are_a_few_overrides(four_paths, tmp_path):
    with open(four_paths[0].partition("=")[2]) as file:
        content = json.load(file)
    for item in content["annotations"]:
        x, y, w, h = item["bbox"]
        item["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    for entry in (four_paths[0], four_paths[2]):
        with open(entry.partition("=")[2], "w") as file:
            kept = [item for item in content["annotations"] if item["image_id"] != 12]
            json.dump({**content, "annotations": kept}, file)
    overrides = ["dataloader.train.dataset.masks=True", "dataloader.train.num_workers=0"]
    cfg = data_config("coco", *four_paths, *overrides).dataloader
    cfg.train.mapper._target_ = "querydet.data.NonEmptyMaskMapper"
    cfg.train.mapper.augmentations = L(large_scale_jitter)(image_size=64)
    save_config(OmegaConf.create({"dataloader": cfg}), str(tmp_path / "saved.yaml"))
    saved = get_config(str(tmp_path / "saved.yaml")).dataloader
    for sample in next(iter(instantiate(saved.train))):
        assert sample["image"].shape == (3, 64, 64)
        assert sample["instances"].gt_masks.tensor.shape == (len(sample["instances"]), 64, 64)
    assert not cfg.test.dataset.masks


@pytest.mark.parametrize("masks", [False, True])
def test_synthetic_masks_are_one_override(tmp_path, masks):
    overrides = [f"dataloader.train.dataset.root={tmp_path}", "dataloader.train.dataset.num_images=4"]
    overrides += ["dataloader.train.num_workers=0", f"dataloader.train.dataset.masks={masks}"]
    cfg = data_config("synthetic", *overrides, "dataloader.test.dataset.num_images=3").dataloader
    assert all(sample["instances"].has("gt_masks") == masks for sample in next(iter(instantiate(cfg.train))))
    found = [item for record in instantiate(cfg.test.dataset) for item in record["annotations"]]
    assert all(("segmentation" in item) == masks for item in found)


def test_coco_with_masks_differs_by_nothing_else():
    plain, masks = (OmegaConf.to_container(data_config(name).dataloader) for name in ("coco", "coco_instance"))
    for split in ("train", "test"):
        assert (plain[split]["dataset"].pop("masks"), masks[split]["dataset"].pop("masks")) == (False, True)
    assert plain == masks


def test_large_scale_jitter_has_the_published_numbers_and_the_test_images_of_detectron2():
    cfg = data_config("coco_instance_lsj").dataloader
    node = cfg.train.mapper.augmentations
    for name, parameter in inspect.signature(large_scale_jitter).parameters.items():
        assert node[name] == parameter.default, name
    assert (node.image_size, node.min_scale, node.max_scale, node.pad_value) == (1024, 0.1, 2.0, 128)
    (resize,) = instantiate(cfg.test.mapper.augmentations)
    assert resize.output_size(480, 640, 800) == (800, 1067)


def test_large_scale_jitter_makes_samples_with_masks(four_paths, coco_json):
    for annotation in coco_json["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    for entry in (four_paths[0], four_paths[2]):
        with open(entry.partition("=")[2], "w") as file:
            json.dump(coco_json, file)
    overrides = ["dataloader.train.num_workers=0", "dataloader.train.mapper.augmentations.image_size=64"]
    cfg = data_config("coco_instance_lsj", *four_paths, *overrides).dataloader
    samples = next(iter(instantiate(cfg.train)))
    assert len(samples) == 16
    for sample in samples:
        assert sample["image"].shape == (3, 64, 64)
        assert sample["instances"].gt_masks.nonempty().all(), "what a crop emptied is left out"
