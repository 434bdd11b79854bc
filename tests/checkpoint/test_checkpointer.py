"""Checkpoints: what is saved, found and refused."""

import logging
import os
import pickle
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from querydet.checkpoint import Checkpointer, last_iteration, load_adapted, load_weights
from tests.checkpoint.small_detector import Detector, imagenet_file
from tests.models import tiny_detector


def same(left, right):
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def test_resumes_from_the_last_one_and_not_from_the_best(saved):
    path = saved.get_checkpoint_file()
    assert os.path.basename(path) == "model_0000029.pth"
    assert last_iteration(path) == 29
    model = Detector()
    Checkpointer(model, saved.save_dir, optimizer=torch.optim.AdamW(model.parameters())).resume(path)
    assert same(model, saved.model)


@pytest.mark.parametrize("pointer", [None, "", "model_0000099.pth", "../elsewhere.pth", "model_best.pth", "\0\xff"])
def test_unusable_pointer_does_not_matter(saved, tmp_path, pointer):
    (tmp_path / "last_checkpoint").unlink()
    if pointer is not None:
        (tmp_path / "last_checkpoint").write_text(pointer)
    assert os.path.basename(saved.get_checkpoint_file()) == "model_0000029.pth"


@pytest.mark.parametrize("fault", ["truncated", "empty", "bit"])
def test_damaged_file_is_passed_over_and_kept(saved, tmp_path, caplog, fault):
    path = tmp_path / "model_0000029.pth"
    content = bytearray(path.read_bytes())
    if fault == "bit":
        weight = next(saved.model.parameters()).detach().numpy().tobytes()
        content[content.index(weight)] ^= 1
    path.write_bytes({"truncated": content[:-100], "empty": b"", "bit": content}[fault])
    assert os.path.basename(saved.get_checkpoint_file()) == "model_0000019.pth"
    assert "model_0000029.pth is damaged" in caplog.text
    assert path.exists()


def test_half_written_file_is_never_taken(saved, tmp_path):
    (tmp_path / "model_0000039.pth.tmp").write_bytes(b"half")
    assert os.path.basename(saved.get_checkpoint_file()) == "model_0000029.pth"


def test_failing_save_keeps_file_and_pointer(saved, tmp_path):
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        saved.save("model_0000029", unpicklable=lambda: None)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folder_without_checkpoints(tmp_path):
    checkpointer = Checkpointer(Detector(), str(tmp_path / "absent"))
    assert not checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == ""


def test_resuming_without_a_part_that_the_run_needs_is_refused(saved):
    path = saved.get_checkpoint_file()
    with pytest.raises(ValueError, match="holds no ema"):
        Checkpointer(Detector(), saved.save_dir, ema=nn.Linear(1, 1)).resume(path)


def test_mismatch_is_never_allowed_when_resuming(saved):
    with pytest.raises(ValueError, match="does not fit"):
        Checkpointer(Detector(5), saved.save_dir, allow_mismatch=True).resume(saved.get_checkpoint_file())


def test_backbone_weights_are_not_enough_to_evaluate(tmp_path):
    imagenet_file(tmp_path / "R.pkl")
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(Detector(), str(tmp_path / "R.pkl"))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, r"does not exist \(train.init_checkpoint, or --weights\)"),
        (b"no zip", ValueError, "cannot be read"),
    ],
)
def test_absent_or_unreadable_file_is_reported(tmp_path, content, error, message):
    checkpointer = Checkpointer(Detector())
    if content is not None:
        (tmp_path / "model.pth").write_bytes(content)
    for _ in range(2):  # a failed load must not spoil the next one
        with pytest.raises(error, match=message):
            checkpointer.load(str(tmp_path / "model.pth"))


def test_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"model": {}, "hook": types.SimpleNamespace()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"was refused: .* types.SimpleNamespace"):
        Checkpointer(Detector()).load(str(tmp_path / "model.pth"))


def test_average_is_loaded_when_asked_for(tmp_path):
    model, average = Detector(), Detector()
    ema = torch.optim.swa_utils.AveragedModel(average)
    Checkpointer(model, str(tmp_path), ema=ema).save("model_final", iteration=0)
    loaded = Detector()
    for use_ema, expected in ((False, model), (True, average)):
        load_weights(loaded, str(tmp_path / "model_final.pth"), use_ema=use_ema)
        assert same(loaded, expected)


FIVE = ["car", "dog", "Traffic Light", "person", "cat"]


HEAD = "heads.class_heads.0.weight"


def test_one_call_loads_a_file_and_prints_what_is_newly_initialized(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny_detector("dino")
    Checkpointer(source, str(tmp_path), class_names=FIVE).save("model_final")
    target = tiny_detector("dino", seed=1, num_classes=2)
    with caplog.at_level(logging.INFO, logger="querydet"):
        done = load_adapted(target, str(tmp_path / "model_final.pth"), ["cat", "bus"])
    assert torch.equal(target.state_dict()[HEAD][0], source.state_dict()[HEAD][4])
    assert "found by name: cat" in caplog.text
    assert f"{HEAD}: the rows of bus" in done.describe()
