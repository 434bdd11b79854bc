"""The generator: the same bytes for the same seed, complete or absent."""

import hashlib
import json
import multiprocessing
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from querydet.data import SceneStyle, class_names, generate_synthetic, load_synthetic, synthetic
from querydet.data.existing_data import existing_data_only
from querydet.data.masks import to_bitmap
from querydet.data.synthetic_scene import CLASS_NAMES, Scene

SMALL = {"num_images": 6, "image_size": 64}


def digests(folder):
    """Content of every file of a folder, by name."""
    root = pathlib.Path(folder)
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_same_seed_same_bytes(tmp_path):
    first, second, other = (
        digests(generate_synthetic(str(tmp_path / name), "train", seed=seed, **SMALL))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second
    assert len(first) == 7
    assert not set(first.values()) & set(other.values())


def test_splits_share_no_image(tmp_path):
    train, val = (digests(generate_synthetic(str(tmp_path), split, **SMALL)) for split in ("train", "val"))
    assert not set(train.values()) & set(val.values())


def test_more_images_begin_with_the_same_ones(tmp_path):
    few = digests(generate_synthetic(str(tmp_path), "train", 3, 64))
    many = digests(generate_synthetic(str(tmp_path), "train", 5, 64))
    assert all(many[name] == digest for name, digest in few.items() if name.startswith("images"))


def test_written_once(tmp_path):
    folder = generate_synthetic(str(tmp_path), "train", **SMALL)
    stamp = os.stat(os.path.join(folder, "annotations.json")).st_mtime_ns
    assert generate_synthetic(str(tmp_path), "train", **SMALL) == folder
    assert os.stat(os.path.join(folder, "annotations.json")).st_mtime_ns == stamp


def test_another_recipe_has_another_folder(tmp_path):
    folders = {
        generate_synthetic(str(tmp_path), "train", 1, 64, seed, SceneStyle(clutter=clutter))
        for seed in (0, 1)
        for clutter in (0, 2)
    }
    assert len(folders) == 4


def test_loads_as_coco(tmp_path):
    dataset = load_synthetic(str(tmp_path), "val", num_images=40, image_size=64)
    assert class_names(dataset) == list(CLASS_NAMES) == ["circle", "square", "triangle", "star", "ring", "cross"]
    assert len(dataset) == 40
    assert all((record["height"], record["width"]) == (64, 64) for record in dataset)
    labels = {item["category_id"] for record in dataset for item in record["annotations"]}
    assert labels == set(range(6))
    for record in dataset:
        for item in record["annotations"]:
            x, y, w, h = item["bbox"]
            assert x >= 0 <= y and x + w <= 64.01 and y + h <= 64.01 and min(w, h) > 2  # noqa: PT018
            assert 0 < item["area"] <= w * h * 1.02


def test_a_killed_generation_leaves_nothing(tmp_path, monkeypatch):
    def die(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Scene, "draw", die)
        with pytest.raises(KeyboardInterrupt):
            generate_synthetic(str(tmp_path), "train", **SMALL)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(digests(generate_synthetic(str(tmp_path), "train", **SMALL))) == 7


def test_left_over_drafts_are_removed(tmp_path):
    folder = generate_synthetic(str(tmp_path / "a"), "train", **SMALL)
    draft = tmp_path / "b" / f".{os.path.basename(folder)}.draft.xyz"  # as after a SIGKILL
    draft.mkdir(parents=True)
    (draft / "annotations.json").write_text("{")
    assert digests(generate_synthetic(str(tmp_path / "b"), "train", **SMALL)) == digests(folder)
    assert not draft.exists()


def test_processes_at_once_agree(tmp_path):
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        folders = pool.starmap(generate_synthetic, [(str(tmp_path), "train", 4, 64)] * 3)
    assert len(set(folders)) == 1
    assert len(digests(folders[0])) == 5
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "training"}, "split must be one of .* got 'training'"),
        ({"num_images": 0}, "num_images from 1"),
        ({"image_size": 16}, "image_size from 32"),
        ({"seed": -1}, "seed >= 0"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        generate_synthetic(str(tmp_path), **{"split": "train", **options})


def test_json_names_its_recipe(tmp_path):
    folder = generate_synthetic(str(tmp_path), "train", **SMALL)
    with open(os.path.join(folder, "annotations.json")) as file:
        info = json.load(file)["info"]
    assert (info["seed"], info["num_images"], info["image_size"], info["style"]["noise"]) == (0, 6, 64, 5.0)
    assert Image.open(os.path.join(folder, "images", "000001.png")).size == (64, 64)


@pytest.mark.parametrize("style", [SceneStyle(), SceneStyle(max_objects=12, max_overlap=0.6)])
def test_masks_are_what_is_visible_of_the_objects(tmp_path, style):
    options = {**SMALL, "image_size": 96, "num_images": 20, "style": style}
    masked = load_synthetic(str(tmp_path), "train", **options, masks=True)
    boxes = load_synthetic(str(tmp_path), "train", **options)
    for record, plain in zip(masked, boxes, strict=True):
        total = np.zeros((96, 96), int)
        for item, box in zip(record["annotations"], plain["annotations"], strict=True):
            assert {**box, "segmentation": item["segmentation"]} == item
            mask = to_bitmap(item["segmentation"], 96, 96)
            total += mask
            assert mask.sum() == pytest.approx(item["area"], rel=0.1, abs=8)  # of fractions of pixels
            ys, xs = np.nonzero(mask)
            x, y, w, h = item["bbox"]
            edges = (xs.min() - x, ys.min() - y, xs.max() + 1 - x - w, ys.max() + 1 - y - h)
            assert np.abs(edges).max() <= 3  # a tip may cover less than half of its last pixels
        assert total.max(initial=0) <= 1  # an object in front hides those behind


def test_folders_without_masks_of_earlier_versions_serve_for_boxes(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "_VERSION", 1)
        older = generate_synthetic(str(tmp_path), "train", **SMALL)
    path = pathlib.Path(older, "annotations.json")
    content = json.loads(path.read_text())
    for item in content["annotations"]:
        del item["segmentation"]
    path.write_text(json.dumps(content))
    before = load_synthetic(str(tmp_path), "train", **SMALL)
    assert before[0]["file_name"].startswith(older)
    with existing_data_only():
        load_synthetic(str(tmp_path), "train", **SMALL)
        with pytest.raises(FileNotFoundError):
            load_synthetic(str(tmp_path), "train", **SMALL, masks=True)
    masked = load_synthetic(str(tmp_path), "train", **SMALL, masks=True)
    newer = load_synthetic(str(tmp_path), "train", **SMALL)
    assert pathlib.Path(newer[0]["file_name"]).parents[1] == pathlib.Path(masked[0]["file_name"]).parents[1] != older
    assert [record["annotations"] for record in newer] == [record["annotations"] for record in before]
    old, new = (digests(pathlib.Path(data[0]["file_name"]).parent) for data in (before, newer))
    assert old == new


def test_data_are_read_and_not_written_where_only_reading_is_asked_for(tmp_path):
    with existing_data_only(), pytest.raises(FileNotFoundError, match="does not exist, and is not generated here"):
        load_synthetic(str(tmp_path / "new"), "train", **SMALL)
    assert list(tmp_path.iterdir()) == []
    generate_synthetic(str(tmp_path), "train", **SMALL)
    with existing_data_only():
        assert len(load_synthetic(str(tmp_path), "train", **SMALL)) == 6


@pytest.mark.parametrize("options", [{"num_images": 10**9}, {"image_size": 10**9}])
def test_numbers_that_would_fill_the_disk_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="need num_images from 1 to"):
        generate_synthetic(str(tmp_path / "new"), "train", **{**SMALL, **options})
    assert list(tmp_path.iterdir()) == []
