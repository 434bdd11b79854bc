"""``querydet quantize``: its file detects, and its messages about bad input."""

import numpy as np
import pytest
import torch
from PIL import Image

from querydet import Predictor
from querydet.checkpoint import Checkpointer
from querydet.cli.arguments import quantize as arguments
from querydet.quantization import FLOAT, OBSERVERS, is_in_8_bit, missing_support
from tests.engine.conftest import DINO_CONFIG
from tests.models import tiny_detector

pytestmark = pytest.mark.skipif(bool(missing_support()), reason=f"no 8-bit products here: {missing_support()}")

NAMES = ["one", "two", "three", "four", "five", "six"]


@pytest.fixture
def run(cli, tmp_path):
    """Runs the command on a checkpoint and two pictures; returns the path of its file."""
    Checkpointer(tiny_detector("dino", num_classes=6), str(tmp_path), class_names=NAMES).save("model")
    for index in range(2):
        picture = np.random.default_rng(index).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{index}.png")

    def call(*options):
        output = str(tmp_path / "model_int8.pth")
        command = ["--config-file", DINO_CONFIG, "--weights", str(tmp_path / "model.pth"), "--output", output]
        assert cli("quantize").main([*command, "--data", str(tmp_path), *options]) == 0
        return output

    return call


def test_a_predictor_takes_the_file_as_weights(run, tmp_path):
    path = run("--images", "2", "--observer", "histogram")
    content = torch.load(path, weights_only=True)
    assert {key: content["quantization"][key] for key in ("observer", "images", "version")} == {
        "observer": "histogram", "images": 2, "version": 1
    }  # fmt: skip
    predictor = Predictor(DINO_CONFIG, path, threshold=0.0)
    assert predictor.class_names == NAMES
    assert is_in_8_bit(predictor.model)
    assert len(predictor(str(tmp_path / "0.png"))) > 0


def test_layers_that_stay_are_named(run):
    content = torch.load(run("--keep-float", "decoder", "encoder.layers.0"), weights_only=True)
    layers = content["quantization"]["layers"]
    assert layers
    assert not [name for name in layers if name.startswith(("decoder", "encoder.layers.0."))]
    with pytest.raises(ValueError, match="--keep-float nothing begins the name of no layer"):
        run("--keep-float", "decoder", "nothing")


def test_without_pictures(run, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError)):
        run("--data", str(tmp_path / "missing"))


def test_options_that_are_named_without_loading_the_package():
    assert tuple(OBSERVERS) == arguments.OBSERVER_NAMES
    assert FLOAT == arguments.FLOAT
