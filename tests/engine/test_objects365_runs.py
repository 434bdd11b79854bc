"""From Objects365 to COCO: the recipes of both trainings follow one another, on a few images and with few weights."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from querydet.checkpoint.class_maps import CLASS_MAPS
from querydet.checkpoint.conversion.coco_classes import COCO_NAMES
from querydet.config import load_config
from querydet.data.objects365 import MISSING_IMAGES
from querydet.engine import train
from querydet.model_zoo.published import recipes
from tests.data.objects365 import make_content, write
from tests.models import make_small

CHAINS = {
    "dino": ("dino_swin_l_5scale_o365_26ep", "dino_swin_l_5scale_finetune_18ep"),
    "deta": ("deta_swin_l_o365_24ep", "deta_swin_l_finetune_24ep"),
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Both data sets where the recipes look for them: annotation ids of train and val collide, an image is missing."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "objects365"
    folder.mkdir(parents=True)
    train, val = make_content([1, 2, 3]), make_content([4, 5, 6, 7])
    train["images"][0]["file_name"] = f"images/v2/{MISSING_IMAGES[0]}"
    train["annotations"].append({**train["annotations"][-1], "id": 90})
    for split, content in (("train", train), ("val", val)):
        write(folder, content, split)
    (folder / "train" / MISSING_IMAGES[0]).unlink()
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        (folder / f"zhiyuan_objv2_{split}.json").rename(folder / "annotations" / f"zhiyuan_objv2_{split}.json")
    coco = tmp_path / "data" / "coco"
    (coco / "annotations").mkdir(parents=True)
    categories = [{"id": index, "name": name} for index, name in enumerate(COCO_NAMES, start=1)]
    for split, numbers in (("train2017", [1, 2]), ("val2017", [3])):
        content = make_content(numbers, patch=int(split[-1]))
        items = [{**item, "category_id": item["category_id"] % 80 + 1} for item in content["annotations"]]
        content |= {"categories": categories, "annotations": items}
        write(coco, content, split)
        for image in content["images"]:
            image["file_name"] = image["file_name"].removeprefix("images/v1/")
        (coco / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return tmp_path


def tiny(name, *overrides):
    """A recipe with a detector of few weights, for one step."""
    cfg = load_config(recipes()[name])
    num_classes, maps = cfg.model.num_classes, list(cfg.model.neck.in_channels)
    cfg.model.neck.in_channels = {
        f"res{6 - len(maps) + index}": 8 for index in range(len(maps))
    }  # the last of stride 32
    make_small(cfg.model)
    cfg.model.num_classes = num_classes
    for split in ("train", "test"):
        cfg.dataloader[split].mapper.augmentations = []
        cfg.dataloader[split].num_workers = 0
    cfg.dataloader.train.total_batch_size = 2
    cfg.train.max_iter = 1
    for override in overrides:
        key, _, value = override.partition("=")
        OmegaConf.update(cfg, key, json.loads(value))
    return cfg


def pretrained(name):
    """The first recipe of a chain, and its weights after a step."""
    cfg = tiny(CHAINS[name][0], 'train.init_checkpoint=""')
    cfg.dataloader.test.dataset.count = 2
    parts = cfg.dataloader.train.dataset.get("datasets", [])
    for part in parts[1:]:
        part.count = 2
    results = train(cfg)
    assert set(results) == {"bbox"}
    return cfg, torch.load(f"{cfg.train.output_dir}/model_final.pth", weights_only=True)


def of_classes(key):
    return "class_head" in key or "label_embed" in key


@pytest.mark.parametrize("name", ["dino", pytest.param("deta", marks=pytest.mark.slow)])
def test_fine_tuning_starts_from_the_output_of_the_training_before(data, name, caplog):
    first, content = pretrained(name)
    before = content["model"]
    (run,) = json.loads((data / first.train.output_dir / "run.json").read_text())
    assert run["data"]["train"]["images"] == {"dino": 2 + 2, "deta": 2}[name]
    assert run["data"]["train"]["objects"] == {"dino": 7 + 6, "deta": 7}[name]
    assert run["data"]["test"]["images"] == 2
    assert len(content["class_names"]) == 365
    assert "image ids of data set" not in caplog.text
    second = tiny(CHAINS[name][1], "optimizer.lr=0")
    assert second.train.init_checkpoint == f"{first.train.output_dir}/model_final.pth"
    second.dataloader.evaluator = None
    train(second)
    after = torch.load(f"{second.train.output_dir}/model_final.pth", weights_only=True)["model"]
    assert set(after) == set(before)
    for key, value in after.items():
        if of_classes(key):
            assert value.shape != before[key].shape, key
        else:
            assert torch.equal(value, before[key]), key
    _keep_classes(second, before, name)


def _keep_classes(second, before, name):
    """The same with the classes that both have."""
    second.train.update(init_surgery=True, init_allow_mismatch=False, init_class_map="objects365_to_coco")
    second.train.output_dir += "_kept"
    train(second)
    after = torch.load(f"{second.train.output_dir}/model_final.pth", weights_only=True)["model"]
    rows = list(CLASS_MAPS["objects365_to_coco"].rows.values())
    for key, value in after.items():
        if of_classes(key) and not (name == "deta" and key.startswith("selection.")):
            assert torch.equal(value[:80], before[key][rows]), key


@pytest.mark.parametrize("name", CHAINS)
def test_both_recipes_of_a_chain_have_one_model(name):
    first, second = (load_config(recipes()[recipe]) for recipe in CHAINS[name])
    assert (first.model.num_classes, second.model.num_classes) == (365, 80)
    assert second.train.init_checkpoint == f"{first.train.output_dir}/model_final.pth"
    assert second.train.init_allow_mismatch
    second.model.num_classes = 365
    assert OmegaConf.to_container(first.model, resolve=True) == OmegaConf.to_container(second.model, resolve=True)
