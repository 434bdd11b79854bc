"""The config for own data, as the README shows it."""

import json
import signal

from detectron2.data import MetadataCatalog
from PIL import Image

from querydet.config import load_config
from querydet.data.synthetic import load_synthetic
from querydet.engine import train
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics, single_thread


def test_own_data_train_from_three_files_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets" / "custom"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(folder / "images" / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "bbox": [4, 4, 20, 20]}],
        "categories": [{"id": index, "name": name} for index, name in ((2, "nut"), (4, "bolt"))],
    }
    for name in ("train", "val"):
        (folder / f"{name}.json").write_text(json.dumps(content))
    overrides = ["model.num_classes=2", "train.max_iter=1", "dataloader.train.total_batch_size=1"]
    workers = ["dataloader.train.num_workers=0", "dataloader.test.num_workers=0"]
    results = train(load_config("quick/custom.py", [*overrides, *workers, "train.device=cpu"]))
    assert {"AP", "AP-nut", "AP-bolt"} <= results["bbox"].keys()
    assert (tmp_path / "output" / "custom" / "model_final.pth").is_file()


def test_annotations_in_columns_train_as_those_in_memory(toy_config, train_forked, tmp_path):
    """The same bits; a run that was started with columns is resumed in memory."""
    data = load_synthetic(root=str(tmp_path / "data"), split="train", num_images=16, image_size=32)
    paths = MetadataCatalog.get(data.name)
    dataset = f"_target_:querydet.data.load_coco,annotations:{paths.json_file},images:{paths.image_root}"

    def options(cache, folder):
        workers = "dataloader.train.num_workers=1"
        return [
            f"dataloader.train.dataset={{{dataset},cache:{cache}}}",
            f"train.output_dir={tmp_path / folder}",
            workers,
        ]

    with single_thread():
        train(toy_config(*options("false", "memory")))
    for cache, place in (("true", "step 7"), ("false", "")):
        done = train_forked("--num-gpus", "0", "--resume", *options(cache, "both"), TOY_KILL=place)
        assert done.returncode == (-signal.SIGKILL if place else 0), done.stdout + done.stderr
    assert len(list((tmp_path / "data").rglob("columns.json"))) == 1
    assert read_metrics(tmp_path / "both") == read_metrics(tmp_path / "memory")
    weights = [read_checkpoint(tmp_path / folder / "model_final.pth") for folder in ("both", "memory")]
    assert_equal(*weights)
