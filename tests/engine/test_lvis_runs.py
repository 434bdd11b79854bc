"""A run on data of LVIS's format: repeated images, the federated loss, AP by frequency, and an exact resume."""

import json

import numpy as np
import pytest
from detectron2.config import LazyCall as L
from PIL import Image

from querydet.config import load_config
from querydet.engine import train
from querydet.modeling.federated import FederatedFocalLoss
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics
from tests.models import tiny_config

FOLDERS = ("whole", "parts")
FREQUENCIES = "rrccccfffff"  # of eleven categories


def lvis_json(first_id):
    """Eight images of both folders, with two or three objects each and one without."""
    random = np.random.default_rng(first_id)
    images, annotations = [], []
    for number in range(first_id, first_id + 8):
        classes = random.choice(len(FREQUENCIES), 3, replace=False) + 1 if number != first_id + 5 else []
        absent = [c for c in range(1, len(FREQUENCIES) + 1) if c not in classes][:4]
        images.append(
            {
                "id": number,
                "width": 64,
                "height": 48,
                "coco_url": f"http://images.cocodataset.org/{('train', 'val')[number % 2]}2017/{number:012}.jpg",
                "neg_category_ids": absent,
                "not_exhaustive_category_ids": [int(c) for c in classes[:1]],
            }
        )
        for category in classes:
            box = [*random.integers(0, 20, 2).tolist(), *random.integers(10, 28, 2).tolist()]
            item = {"id": len(annotations) + 1, "image_id": number, "category_id": int(category), "bbox": box}
            annotations.append({**item, "area": box[2] * box[3] / 2})
    names = [{"id": c, "name": f"thing {c}", "frequency": f} for c, f in enumerate(FREQUENCIES, 1)]
    return {"images": images, "annotations": annotations, "categories": names}


@pytest.fixture
def lvis_config(tmp_path):
    """The recipe of DETA on LVIS, with a small model, on a small data set."""
    for split, first_id in (("train", 1), ("val", 101)):
        content = lvis_json(first_id)
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
        for image in content["images"]:
            path = tmp_path / "coco" / "/".join(image["coco_url"].split("/")[-2:])
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(image["id"]).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)

    def build(folder, *overrides):
        options = [
            *(f"dataloader.{part}.dataset.images={tmp_path / 'coco'}" for part in ("train", "test")),
            *(f"dataloader.{part}.num_workers=0" for part in ("train", "test")),
            f"dataloader.train.dataset.annotations={tmp_path / 'train.json'}",
            f"dataloader.test.dataset.annotations={tmp_path / 'val.json'}",
            "dataloader.train.mapper.augmentations.short_sides=[48]",
            "dataloader.train.mapper.augmentations.crop_prob=0",
            "dataloader.test.mapper.augmentations.short_side=48",
            "dataloader.train.repeat.threshold=1.0",
            "dataloader.train.total_batch_size=2",
            *("train.log_period=1", "train.init_checkpoint=''", f"train.output_dir={tmp_path / folder}"),
        ]
        cfg = load_config("deta/configs/deta_lvis_r50_180k.py", [*options, *overrides])
        cfg.model = tiny_config("deta", num_classes=len(FREQUENCIES))
        for rule in cfg.model.criterion.rules.values():
            rule.losses["class"] = L(FederatedFocalLoss)(weight=2.0, num_kept=5)
        return cfg

    return build


def test_a_run_on_lvis_measures_frequencies_and_resumes_exactly(lvis_config, tmp_path):
    pytest.importorskip("hotcoco", reason="hotcoco, which computes LVIS, is not installed")
    always = ["train.eval_period=0", "train.checkpointer.period=0"]
    results = train(lvis_config("whole", "train.max_iter=2", *always))
    assert {"AP", "APr", "APc", "APf", "AR300"} <= results["bbox"].keys()
    assert all(-1 <= value <= 100 for value in results["bbox"].values())
    train(lvis_config("parts", "train.max_iter=1", *always, "dataloader.evaluator=null"))
    assert train(lvis_config("parts", "train.max_iter=2", *always), resume=True) == results
    assert_equal(*(read_checkpoint(tmp_path / folder / "model_final.pth")["model"] for folder in FOLDERS))
    losses = [{line["iteration"]: line["loss_class"] for line in read_metrics(tmp_path / name)} for name in FOLDERS]
    assert losses[0] == losses[1]
    assert min(losses[0].values()) > 0


def test_classes_that_are_drawn_more_often_have_more_images(lvis_config, monkeypatch):
    """The numbers of images are those of the training data, not of the test data, and follow its classes."""
    taken = []
    monkeypatch.setattr(FederatedFocalLoss, "use_counts", lambda self, counts: taken.append(counts.tolist()))
    with pytest.raises(ValueError, match="federated loss needs the number of training images"):
        train(lvis_config("run", "train.max_iter=1", "dataloader.evaluator=null"))
    content = lvis_json(1)
    pairs = {(item["image_id"], item["category_id"]) for item in content["annotations"]}
    expected = [sum(category == c for _, category in pairs) for c in range(1, len(FREQUENCIES) + 1)]
    assert taken == [expected] * 2
