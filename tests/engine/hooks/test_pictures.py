"""Pictures during training: they are there, in files and TensorBoard, and change nothing of the run."""

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from querydet.engine import train
from tests.engine.conftest import DINO_CONFIG
from tests.engine.test_train_net import read_metrics

SHORT = ["train.max_iter=2", "train.log_period=1", "train.eval_period=0"]
DRAW = ["train.pictures.enabled=True", "train.pictures.period=1it", "train.pictures.num_images=1"]


@pytest.fixture(autouse=True)
def quiet(quiet_loggers):
    """Runs add handlers."""


def test_pictures_are_written_and_the_run_stays_the_same(toy_config, tmp_path):
    weights = []
    for folder, options in (("plain", []), ("drawn", DRAW)):
        cfg = toy_config(*SHORT, *options, folder=folder, config=DINO_CONFIG)
        train(cfg)
        weights.append(torch.load(tmp_path / folder / "model_final.pth")["model"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    losses = [[line["total_loss"] for line in read_metrics(tmp_path / folder)] for folder in ("plain", "drawn")]
    assert losses[0] == losses[1]
    assert not (tmp_path / "plain" / "pictures").exists()
    kinds = ("denoising", "predictions", "references", "train_batch")
    names = [f"{kind}_{step:07d}.png" for kind in kinds for step in (1, 2)]
    files = sorted((tmp_path / "drawn" / "pictures").iterdir())
    assert [path.name for path in files] == names
    assert all(Image.open(path).size[0] > 200 for path in files)
    board = EventAccumulator(str(tmp_path / "drawn"), size_guidance={"images": 0}).Reload()
    assert {tag: [event.step for event in board.Images(tag)] for tag in board.Tags()["images"]} == {
        f"pictures/{kind}": [0, 1] for kind in kinds
    }


def test_what_cannot_be_drawn_costs_no_run(toy_config, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError("the image is gone")

    monkeypatch.setattr("querydet.engine.hooks.pictures.prediction_panels", fail)
    train(toy_config(*SHORT, *DRAW))
    found = {path.name.rsplit("_", 1)[0] for path in (tmp_path / "run" / "pictures").iterdir()}
    assert found == {"train_batch"}  # the toy is no detector of queries
    assert "no picture of predictions, training goes on: the image is gone" in caplog.text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train.pictures.num_images=0", "num_images has to be an integer of at least 1, got 0"),
        ("train.pictures.threshold=2", r"threshold has to be in \[0, 1\], got 2"),
        ("train.pictures.period=often", r"train\.pictures\.period is a number of epochs"),
    ],
)
def test_settings_are_checked(toy_config, option, message):
    with pytest.raises(ValueError, match=message):
        train(toy_config(*SHORT, *DRAW, option))


@pytest.mark.slow
def test_one_of_two_processes_draws_a_sharded_model(train_net, tmp_path):
    options = [f"train.output_dir={tmp_path / 'run'}", *SHORT, *DRAW, "train.ema.enabled=False"]
    processes = ["--num-gpus", "0", "--num-processes", "2"]
    done = train_net(*processes, *options, "train.sharding.enabled=True", config=DINO_CONFIG, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 8
    assert "no picture" not in done.stdout + done.stderr
