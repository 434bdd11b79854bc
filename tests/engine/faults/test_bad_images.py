"""Images that cannot be used: replaced, counted, reported and limited."""

import json

import pytest

from querydet.engine import train
from querydet.engine.faults.bad_images import TooManyBadImagesError
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics

FEW = ["train.max_iter=4", "train.log_period=1"]


def from_folder(cfg, root):
    cfg.dataloader.train.dataset.root = cfg.dataloader.test.dataset.root = str(root)
    return cfg


def test_unusable_images_are_replaced_counted_and_reported(toy_config, tmp_path, caplog):
    data = tmp_path / "data"
    train(from_folder(toy_config("train.max_iter=1", folder="good"), data))
    files = sorted(data.glob("train*/images/*.png"))
    files[3].write_bytes(files[3].read_bytes()[:100])
    files[5].write_bytes(b"")
    options = ["dataloader.train.mapper.on_bad_image=skip", "train.max_bad_images=0.2"]
    train(from_folder(toy_config(*FEW, *options, folder="whole"), data))
    # an epoch shows every image once; an image beside another bad one takes its place
    counts = json.loads((tmp_path / "whole" / "bad_images.json").read_text())
    assert set(counts) == {str(files[3]), str(files[5])}
    assert "2 training images could not be used and were replaced by others" in caplog.text
    logged = [line["bad_images"] for line in read_metrics(tmp_path / "whole") if "bad_images" in line]
    assert logged[-1] == sum(counts.values())
    train(from_folder(toy_config(*FEW[1:], *options, "train.max_iter=2"), data))
    train(from_folder(toy_config(*FEW, *options), data), resume=True)
    assert_equal(*(read_checkpoint(tmp_path / run / "model_final.pth") for run in ("whole", "run")))
    assert json.loads((tmp_path / "run" / "bad_images.json").read_text()) == counts
    options[1] = "train.max_bad_images=0.1"
    with pytest.raises(TooManyBadImagesError, match="2 of 16 training images cannot be used"):
        train(from_folder(toy_config(*FEW, *options, folder="strict"), data))
