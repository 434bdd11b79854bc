"""``querydet visualize model``: a picture of each kind."""

import numpy as np
import pytest
import torch
from PIL import Image

from querydet.config import load_config
from querydet.engine import build_model
from tests.engine.conftest import DINO_CONFIG


@pytest.fixture(scope="module")
def dino(tmp_path_factory, toy_data):
    """A checkpoint of the small DINO, and an image."""
    folder = tmp_path_factory.mktemp("dino")
    torch.save({"model": build_model(load_config(DINO_CONFIG)).state_dict()}, folder / "dino.pth")
    Image.fromarray(np.full((64, 96, 3), 128, np.uint8)).save(folder / "grey.png")
    return folder


@pytest.fixture
def draw(cli, dino, tmp_path):
    def run(command, *options, weights=True):
        path = tmp_path / "new" / f"{command}.png"
        given = ["--weights", str(dino / "dino.pth")] if weights else []
        argv = [command, "--config-file", DINO_CONFIG, *given, "--output", str(path), *options]
        assert cli("visualize_model").main(argv) == 0
        return Image.open(path).size

    return run


def test_every_command_draws(draw, dino, capsys):
    width, height = draw("references", "--index", "0", "2", "--top", "3", "--columns", "3", "train.device=cpu")
    assert width > 1000
    assert height > 2 * 300
    file = str(dino / "grey.png")
    assert draw("references", "--input", file, "--query", "5")[0] < width
    assert draw("sampling", "--input", file, "--top", "1")[0] > draw("sampling", "--query", "3", "--layer", "2")[0]
    draw("sampling", "--layer", "1", "2", "--head", "0", "3")
    one = draw("candidates", "--index", "1", "--object", "0", "--count", "5", "--layer", "1")
    assert one[0] < width
    assert draw("candidates", "--index", "1", "2", "--count", "3")[1] >= one[1]
    draw("denoising", "--num-images", "1", "--object", "0", weights=False)
    assert "wrote " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["references", "--query", "12"], "there is no query 12: they are 0 to 11"),
        (["sampling", "--layer", "3"], "there is no decoder layer 3: they are 1 to 2"),
        (["sampling", "--head", "9"], "there is no head 9"),
        (["references", "--index", "99"], "there is no image 99: the test data has 0 to 2"),
        (["candidates", "--object", "99"], "there is no object 99: the image has"),
        (["candidates", "--count", "0"], "count must be at least 1"),
    ],
)
def test_what_is_not_there_is_named(draw, command, message):
    with pytest.raises(ValueError, match=message):
        draw(*command)


def test_missing_files_are_named(cli, tmp_path):
    command = ["sampling", "--config-file", DINO_CONFIG, "--output", str(tmp_path / "x.png")]
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        cli("visualize_model").main([*command, "--weights", str(tmp_path / "none.pth")])
    with pytest.raises(KeyError, match="no published model"):
        cli("visualize_model").main([*command[:2], "no_such_model", *command[3:]])


def test_help_explains_every_picture(cli, capsys):
    for command in ("references", "sampling", "candidates", "denoising"):
        with pytest.raises(SystemExit, match="0"):
            cli("visualize_model").main([command, "--help"])
        assert len(capsys.readouterr().out) > 800
    with pytest.raises(SystemExit, match="0"):
        cli("visualize_model").main(["--help"])
    assert "querydet visualize model sampling" in capsys.readouterr().out
