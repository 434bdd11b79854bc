"""The config for own data, as the README shows it."""

import json

from PIL import Image

from querydet.config import load_config
from querydet.engine import train


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
