"""A report of three small runs."""

import json

import pytest
from detectron2.config import instantiate
from PIL import Image

from querydet.config import load_config, save_config
from querydet.evaluation.error_analysis import Settings
from querydet.report import Options, make_report
from querydet.visualization.runs import read_groups
from tests.engine.conftest import CONFIG
from tests.report.pages import Page

TEXT = "<script>alert('&')</script>"  # in a command, which may hold anything


@pytest.fixture(scope="session")
def runs(tmp_path_factory, toy_data):
    """Three runs: two that repeat each other, one of them with results and pictures, and one of another config."""
    root = tmp_path_factory.mktemp("runs")
    for number, (name, steps) in enumerate((("dino_1", 20), ("dino_2", 20), ("other", 40))):
        folder = root / name
        (folder / "inference").mkdir(parents=True)
        cfg = load_config(CONFIG, [f"train.output_dir={folder}", f"train.seed={number}", f"train.max_iter={steps}"])
        save_config(cfg, str(folder / "config.yaml"))
        lines = [
            {"iteration": 9, "total_loss": 5.0, "loss_l1": 2.0, "time": 0.5, "bbox/AP": 10.0 + number, "lr": 0.1},
            {"iteration": 19, "total_loss": 4.0, "loss_l1": 1.0, "time": 0.7, "bbox/AP": 20.0 + 2 * number, "lr": 0.1},
        ]
        lines[-1] |= {"bbox/AP-circle": 30.0, "atd/ATD": 0.25}
        (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    dataset = instantiate(cfg.dataloader.test.dataset)
    ids = list(range(100))
    truth = [
        {"image_id": each["image_id"], "category_id": ids[item["category_id"]] + 1, "bbox": item["bbox"], "score": 0.9}
        for each in dataset
        for item in each["annotations"]
    ]
    (root / "dino_1" / "inference" / "coco_instances_results.json").write_text(json.dumps(truth))
    part = {"start_iteration": 0, "command": TEXT, "minutes": 3.0, "machine": "abacus", "commit": "abcdef0123456789"}
    (root / "dino_1" / "run.json").write_text(json.dumps([part, {**part, "start_iteration": 10, "minutes": 4.0}]))
    (root / "dino_1" / "pictures").mkdir()
    for step, color in ((10, "red"), (20, "blue")):
        Image.new("RGB", (2000, 500), color).save(root / "dino_1" / "pictures" / f"predictions_{step:07d}.png")
    (root / "dino_1" / "broken.png").write_text("no picture")
    return [str(root / name) for name in ("dino_1", "dino_2", "other")]


@pytest.fixture(scope="session")
def text(runs):
    """The report of all three."""
    return make_report(read_groups(runs), Options("Three <runs>", settings=Settings(worst=1)))


@pytest.fixture(scope="session")
def page(text):
    """The same, read."""
    return Page(text)
