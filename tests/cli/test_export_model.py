"""``querydet export``: its files and what it checks."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from querydet import Predictor
from querydet.checkpoint import Checkpointer
from querydet.engine.hooks.averaging import build_ema
from querydet.export.agreement import Agreement
from tests.engine.conftest import DINO_CONFIG
from tests.models import tiny_detector

NAMES = ["one", "two", "three", "four", "five", "six"]


@pytest.fixture
def detector_weights(tmp_path: Path) -> str:
    """A checkpoint in the middle of training, with a moving average."""
    detector = tiny_detector("dino", num_classes=6)
    ema = build_ema(tiny_detector("dino", num_classes=6, seed=1), 0.9)
    optimizer = torch.optim.AdamW(detector.parameters())
    Checkpointer(detector, str(tmp_path), class_names=NAMES, ema=ema, optimizer=optimizer).save("model", iteration=7)
    return str(tmp_path / "model.pth")


def run(cli: Any, weights: str, output: Path, *options: str) -> tuple[int, dict[str, Any]]:
    command = ["--config-file", DINO_CONFIG, "--weights", weights, "--output", str(output), *options]
    status = cli("export_model").main(command)
    return status, json.loads((output / "export.json").read_text())


def test_a_checkpoint_of_what_inference_needs(cli: Any, detector_weights: str, tmp_path: Path) -> None:
    status, facts = run(cli, detector_weights, tmp_path / "out", "--formats", "checkpoint")
    assert status == 0
    assert facts["class_names"] == NAMES
    path = tmp_path / "out" / "model.pth"
    content = torch.load(path, weights_only=True)
    assert set(content) == {"model", "class_names", "inference_only", "settings"}
    assert not [key for key in content["model"] if key.startswith("denoising")]
    predictor = Predictor(DINO_CONFIG, path, device="cpu")
    assert predictor.class_names == NAMES


def test_the_moving_average_if_asked(cli: Any, detector_weights: str, tmp_path: Path) -> None:
    for options, seed in ((["--ema"], 1), ([], 0)):
        run(cli, detector_weights, tmp_path / f"out{seed}", "--formats", "checkpoint", *options)
        state = torch.load(tmp_path / f"out{seed}" / "model.pth", weights_only=True)["model"]
        wanted = tiny_detector("dino", num_classes=6, seed=seed).state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in state.items())
    with pytest.raises(ValueError, match="holds no moving average"):
        run(cli, str(tmp_path / "out0" / "model.pth"), tmp_path / "no", "--ema", "--formats", "checkpoint")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "bfloat16"], "--precision bfloat16 is one of OpenVINO: give --formats openvino"),
        (["--precision", "bfloat16", "--formats", "openvino"], "needs pictures of the data set: give --images"),
        (["--precision", "int8", "--formats", "openvino", "--images", "a"], "give --calibration FOLDER"),
    ],
)
def test_precisions_that_lack_something_are_refused_at_once(
    cli: Any, options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = cli("export_model")
    monkeypatch.setattr(module, "require_onnx", lambda: None)
    monkeypatch.setattr(module, "require_openvino", lambda precision: None)
    with pytest.raises(ValueError, match=message):
        module.main(["--config-file", "a", "--weights", "b", "--output", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


def test_few_counterparts_fail_a_check_of_detections(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = cli("export_model")
    found = iter([Agreement(((9, 9),), 10, 10), Agreement(((9, 9),), 10, 7)])
    monkeypatch.setattr(module, "compare_detections", lambda *arguments: next(found))
    monkeypatch.setattr(module, "least_size", lambda *arguments: (1, 1))
    args = argparse.Namespace(precision="int8")
    image = torch.zeros(3, 9, 9)
    assert module.check_detections("model.xml", None, None, [image], args)[0]["matched"] == 10
    with pytest.raises(ValueError, match="7 of 10 confident detections have a counterpart, less than 90%"):
        module.check_detections("model.xml", None, None, [image], args)


@pytest.mark.slow
def test_a_program_that_is_checked(cli: Any, detector_weights: str, tmp_path: Path) -> None:
    status, facts = run(cli, detector_weights, tmp_path / "out", "--formats", "torch", "--fixed-size", "192", "256")
    assert status == 0
    assert facts["fixed_size"] == [192, 256]
    assert all(each["logits"] < 1e-3 for each in facts["checked"]["torch"])
    assert len(facts["checked"]["torch"][-1]["sizes"]) == 3
    status, facts = run(
        cli, detector_weights, tmp_path / "again", "--formats", "torch", "--fixed-size", "192", "256",
        "--tolerance", "0",
    )  # fmt: skip
    assert status == 1
