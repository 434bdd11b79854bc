"""Checkpoints: what is saved, found and refused."""

import os
import pickle
import types

import numpy as np
import pytest
import torch
from torch import nn

from querydet.checkpoint import Checkpointer, last_iteration, load_weights


class Detector(nn.Module):
    """A backbone and a head whose size depends on the number of classes."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
        self.class_head = nn.Linear(4, num_classes)
        self.box_head = nn.Linear(4, 4)
        self.register_buffer("pixel_mean", torch.zeros(3))


def same(left, right):
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


@pytest.fixture
def saved(tmp_path):
    """A run that has saved three iterations and its best model."""
    model = Detector()
    checkpointer = Checkpointer(model, str(tmp_path), optimizer=torch.optim.AdamW(model.parameters()))
    for number, iteration in enumerate((9, 19, 29)):
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        os.utime(tmp_path / f"model_{iteration:07d}.pth", (number, number))
    checkpointer.save("model_best", tag=False, iteration=9)
    return checkpointer


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


def test_other_class_count_is_refused_with_shapes_and_remedy(saved):
    path = saved.get_checkpoint_file()
    with pytest.raises(ValueError, match=r"class_head.weight: \(3, 4\) in the file, \(5, 4\) in the model") as error:
        Checkpointer(Detector(5)).load(path)
    assert "train.init_allow_mismatch=True" in str(error.value)
    assert "box_head" not in str(error.value)


def test_other_class_count_can_be_fine_tuned(saved, caplog):
    model = Detector(5)
    Checkpointer(model, allow_mismatch=True).load(saved.get_checkpoint_file())
    assert torch.equal(model.box_head.weight, saved.model.box_head.weight)
    assert "class_head.weight" in caplog.text
    assert "start anew" in caplog.text


def test_mismatch_is_never_allowed_when_resuming(saved):
    with pytest.raises(ValueError, match="does not fit"):
        Checkpointer(Detector(5), saved.save_dir, allow_mismatch=True).resume(saved.get_checkpoint_file())


def test_missing_and_unexpected_keys_are_listed(tmp_path):
    state = Detector().state_dict()
    state["box_haed.weight"] = state.pop("box_head.weight")
    torch.save({"model": state}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"missing in the file:\n    box_head.weight\n.*\n    box_haed.weight"):
        Checkpointer(Detector()).load(str(tmp_path / "model.pth"))


def test_file_that_has_nothing_in_common_is_refused(tmp_path):
    torch.save({"model": {"other": torch.zeros(1)}}, tmp_path / "model.pth")
    model = Detector()
    del model.pixel_mean
    with pytest.raises(ValueError, match="nothing in the checkpoint fits"):
        Checkpointer(model, allow_mismatch=True).load(str(tmp_path / "model.pth"))


def imagenet_file(path, leave_out=()):
    """A file as Detectron2's model zoo has them: numpy arrays, names without "backbone.", a classifier on top."""
    state = {name: value.numpy() for name, value in Detector().backbone.state_dict().items() if name not in leave_out}
    state["fc.weight"] = np.zeros((10, 4), np.float32)
    with open(path, "wb") as file:
        pickle.dump({"model": state, "__author__": "torchvision", "matching_heuristics": True}, file)


def test_backbone_weights_are_enough(tmp_path, caplog):
    caplog.set_level("INFO")
    imagenet_file(tmp_path / "R.pkl", leave_out=["1.bias"])
    model = Detector()
    Checkpointer(model).load(str(tmp_path / "R.pkl"))
    assert "3 tensors loaded" in caplog.text
    assert "start anew: backbone.1.bias" in caplog.text
    assert "fc.weight" in caplog.text


def test_weights_of_another_backbone_are_refused(tmp_path):
    imagenet_file(tmp_path / "R.pkl", leave_out=["0.weight"])
    with pytest.raises(ValueError, match=r"not of this model's backbone\n.*\n    backbone.0.weight"):
        Checkpointer(Detector()).load(str(tmp_path / "R.pkl"))


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
