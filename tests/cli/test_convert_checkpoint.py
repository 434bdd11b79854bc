"""The command that converts checkpoints, on files of tiny published models."""

import json
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall as L
from detectron2.config import instantiate

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.conversion.verify import GivenMaps
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.settings import stored
from tests.checkpoint.published import published


@pytest.fixture
def main(cli):
    """The command."""
    return cli("convert_checkpoint").main


@pytest.fixture
def source(tmp_path):
    """A file as the official code writes it, of a model that was wrapped."""
    state, options = published("dino_4scale")
    wrapped = {"module." + name: value for name, value in state.items()}
    torch.save({"model": wrapped, "args": options, "epoch": 11}, tmp_path / "a.pth")
    return tmp_path / "a.pth"


@pytest.mark.parametrize("kind", ["pkl", "pth", "safetensors"])
def test_writes_the_kind_that_is_asked_for_and_safetensors(main, source, tmp_path, capsys, kind):
    assert main([str(source), str(tmp_path / f"b.{kind}")]) == 0
    printed = capsys.readouterr().out
    assert "layout: official" in printed
    assert "keys mapped" in printed
    assert "dino_r50_4scale_12ep.py" in printed
    wanted = convert_content({"model": published("dino_4scale")[0]}).state
    copies = [safetensors.torch.load_file(tmp_path / "b.safetensors")]
    if kind == "pkl":
        content = pickle.loads((tmp_path / "b.pkl").read_bytes())
        assert "official" in content["__author__"]
        copies.append({name: torch.from_numpy(value) for name, value in content["model"].items()})
    if kind == "pth":
        copies.append(torch.load(tmp_path / "b.pth", weights_only=True)["model"])
    for copy in copies:
        assert set(copy) == set(wanted)
        assert all(torch.equal(copy[name], value) for name, value in wanted.items())


def test_coco_classes_are_named_in_every_kind_of_file(main, tmp_path):
    state, options = published("dino_4scale", num_classes=91)
    torch.save({"model": state, "args": options}, tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "b.pkl"), "--select-coco-classes"]) == 0
    for name in ("b.pkl", "b.safetensors"):
        content = read_checkpoint(str(tmp_path / name))
        assert stored(content, "class_names", [])[79] == "toothbrush"
        assert stored(content, "settings", {})["neck.position_embedding.temperature"] == 20


def test_round_trip_through_files(main, source, tmp_path):
    assert main([str(source), str(tmp_path / "ours.pkl")]) == 0
    assert main([str(tmp_path / "ours.pkl"), str(tmp_path / "back.pth"), "--to", "official"]) == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    state = published("dino_4scale")[0]
    assert set(back) == set(state)
    assert all(torch.equal(back[name], value) for name, value in state.items())


def test_converted_file_loads_and_wrong_constants_are_refused(main, source, tmp_path):
    assert main([str(source), str(tmp_path / "ours.pkl")]) == 0
    converted = convert_content(torch.load(source, weights_only=False))
    model = converted.fit.cfg.model
    for name in ("ours.pkl", "ours.safetensors"):
        detector = build(model)
        Checkpointer(detector, allow_backbone_only=False).load(str(tmp_path / name))
        assert all(torch.equal(detector.state_dict()[key], value) for key, value in converted.state.items())
    DetectionCheckpointer(build(model)).load(str(tmp_path / "ours.pkl"))  # Detectron2's own reads it too
    model.neck.position_embedding.temperature = 10000.0
    for name in ("ours.pkl", "ours.safetensors"):
        with pytest.raises(ValueError, match=r"temperature is 10000.0 in the config, but the weights are of 20"):
            Checkpointer(build(model)).load(str(tmp_path / name))


def build(model):
    """The detector without the backbone, which the tiny recordings do not have."""
    model.backbone = L(GivenMaps)(channels=dict(model.neck.in_channels))
    return instantiate(model)


def test_unconverted_file_is_not_loaded_but_pointed_to_the_converter(source):
    with pytest.raises(ValueError, match=r"names of the official code base: convert it first: querydet convert "):
        Checkpointer(torch.nn.Linear(1, 1)).load(str(source))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "detrex"], "not in the detrex layout, but in that of official"),
        (["--ema"], "holds no moving average"),
        (["--select-coco-classes"], "from 91 outputs"),
        (["--num-queries", "5"], "has 24 rows, but 5 queries are asked for"),
        (["--num-heads", "7"], "cannot be those of 7 heads"),
    ],
)
def test_what_does_not_fit_ends_with_a_message_and_no_file(main, source, tmp_path, capsys, arguments, message):
    assert main([str(source), str(tmp_path / "b.pkl"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b.pkl").exists()


def test_destination_of_another_kind_is_refused(main, source, tmp_path, capsys):
    assert main([str(source), str(tmp_path / "b.onnx")]) == 1
    assert "has to end in .pkl, .pth or .safetensors" in capsys.readouterr().err


def test_average_only_and_half_precision_are_converted_with_notes(main, tmp_path, capsys):
    state, options = published("deta")
    torch.save({"ema": {name: value.half() for name, value in state.items()}, "args": options}, tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "b.pkl")]) == 0
    printed = capsys.readouterr().out
    assert "only the moving average" in printed
    assert "stored in float16" in printed
    content = pickle.loads((tmp_path / "b.pkl").read_bytes())["model"]
    assert all(value.dtype == np.float32 for value in content.values())


def test_nan_weights_are_refused(main, tmp_path, capsys):
    state, options = published("deta")
    state["transformer.level_embed"][0, 0] = torch.nan
    torch.save({"model": state, "args": options}, tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "b.pkl")]) == 1
    assert "NaN or infinite weights" in capsys.readouterr().err


def test_huggingface_folder(main, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deta"}))
    assert main([str(tmp_path), str(tmp_path / "b.pkl")]) == 1
    assert "holds neither model.safetensors nor pytorch_model.bin" in capsys.readouterr().err
