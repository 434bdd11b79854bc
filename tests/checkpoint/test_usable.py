"""Checkpoints that a run passes over, and weights that a model refuses."""

import logging
import os

import pytest
import torch
from torch import nn

from querydet.checkpoint import Checkpointer, load_weights
from querydet.checkpoint.seal import seal
from querydet.checkpoint.usable import find_problem
from tests.checkpoint.hostile import FILES
from tests.checkpoint.small_detector import Detector
from tests.checkpoint.test_hostile_files import in_a_process

NAME = "class_head.weight"


class Counting(Detector):
    """With integers and booleans among its weights."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("index", torch.arange(5))
        self.register_buffer("mask", torch.ones(2, dtype=torch.bool))


def sealed(content, path):
    torch.save(content, path)
    with open(path, "r+b") as file:
        seal(file)


def changed(model, name, value):
    return {**model.state_dict(), name: value}


WRONG = {
    "integers": (NAME, lambda v: v.to(torch.int64), "class_head.weight .int64 instead of float32"),
    "booleans": (NAME, lambda v: v > 0, "class_head.weight .bool instead of float32"),
    "complex": (NAME, lambda v: v.to(torch.complex64), "torch.complex64"),
    "NaN": (NAME, lambda v: v * torch.nan, "NaN or infinite weights.*: class_head.weight"),
    "infinity": (NAME, lambda v: v / 0, "NaN or infinite weights.*: class_head.weight"),
    "overflow": (NAME, lambda v: v.double() + 1e300, "NaN or infinite weights.*: class_head.weight"),
    "floats for integers": ("index", lambda v: v.float(), "index .float32 instead of int64"),
    "floats for booleans": ("mask", lambda v: v.float(), "mask .float32 instead of bool"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_weights_that_make_no_sense_are_refused_by_name(tmp_path, kind):
    name, change, message = WRONG[kind]
    model = Counting()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save({"model": changed(model, name, change(model.state_dict()[name]))}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=message):
        load_weights(model, str(tmp_path / "x.pth"))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths_and_integers_of_the_model_are_loaded(tmp_path, dtype):
    source, target = Counting(), Counting()
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in source.state_dict().items()}
    state["index"] = state["index"].int()
    torch.save({"model": state}, tmp_path / "x.pth")
    load_weights(target, str(tmp_path / "x.pth"))
    assert torch.allclose(target.state_dict()[NAME], source.state_dict()[NAME], atol=0.01)
    assert target.norm.num_batches_tracked.dtype == torch.int64


def test_somebody_who_has_to_look_may_load_nan(tmp_path, saved):
    model = Detector()
    torch.save({"model": changed(model, NAME, model.state_dict()[NAME] * torch.nan)}, tmp_path / "x.pth")
    load_weights(model, str(tmp_path / "x.pth"), allow_nonfinite=True)
    assert model.class_head.weight.isnan().all()


@pytest.mark.parametrize("average", [False, True])
def test_averages_are_checked_as_well(tmp_path, average):
    model = Detector()
    ema = {"module." + key: value * torch.nan for key, value in model.state_dict().items()}
    torch.save({"model": model.state_dict(), "ema": ema}, tmp_path / "x.pth")
    if average:
        with pytest.raises(ValueError, match="NaN or infinite"):
            load_weights(model, str(tmp_path / "x.pth"), use_ema=True)
    else:
        load_weights(model, str(tmp_path / "x.pth"))
    assert "NaN" in find_problem(str(tmp_path / "x.pth"), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(NAME), f"missing in the file:\n *{NAME}"),
        (
            lambda state: state.update({NAME: state[NAME][:1]}),
            r"another shape:\n *class_head.weight: \(1, 4\) in the file",
        ),
        (lambda state: state.update(other=torch.ones(1)), "not in the model:\n *other"),
    ],
)
def test_an_average_of_another_model_is_refused_or_loaded_as_far_as_it_fits(tmp_path, change, message):
    model, path = Detector(), str(tmp_path / "x.pth")
    state = model.state_dict()
    average = {key: value + 1 for key, value in state.items()}
    change(average)
    torch.save({"model": state, "ema": average}, path)
    with pytest.raises(ValueError, match=f"the moving average in .*x.pth does not fit the model\n *.*{message}"):
        load_weights(Detector(), path, use_ema=True)
    other = Detector()
    load_weights(other, path, use_ema=True, allow_mismatch=True)
    assert torch.equal(other.box_head.weight, model.box_head.weight + 1)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.bits8])
def test_types_that_torch_cannot_compare_are_refused(tmp_path, dtype):
    model = Counting()
    index = torch.zeros(5, dtype=torch.uint8)
    index = index.view(dtype) if dtype == torch.bits8 else index.to(dtype)
    torch.save({"model": changed(model, "index", index)}, tmp_path / "x.pth")
    for own in ({}, model.state_dict()):
        assert f"'index': {dtype}" in find_problem(str(tmp_path / "x.pth"), own)
    with pytest.raises(ValueError, match=f"'index': {dtype}"):
        load_weights(model, str(tmp_path / "x.pth"))


def test_very_many_weights_are_refused(tmp_path):
    torch.save({"model": dict.fromkeys(map(str, range(10_001)), torch.ones(1))}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="10,001 weights, more than MAX_WEIGHTS"):
        load_weights(Detector(), str(tmp_path / "x.pth"))


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


HOSTILE = ("shared tuples.pth", "stride 0.pth", "bytearray.pth", "compressed.pth", "sparse.pth", "many members.pth")


@pytest.mark.parametrize("name", [*HOSTILE, *(kind for kind in WRONG if WRONG[kind][0] == NAME), "optimizer", "pipe"])
def test_a_run_goes_on_from_the_newest_usable_checkpoint(saved, tmp_path, caplog, name):
    path = tmp_path / "model_0000039.pth"
    if name in FILES:
        FILES[name](path)
    elif name == "pipe":
        os.mkfifo(path)
    else:
        content = torch.load(tmp_path / "model_0000029.pth", weights_only=True)
        if name == "optimizer":
            content["optimizer"]["state"] = {0: {"exp_avg": torch.tensor([torch.nan])}}
            content["trainer"] = content["optimizer"]
        else:
            content["model"][NAME] = WRONG[name][1](content["model"][NAME])
        sealed(content, path)
    (tmp_path / "last_checkpoint").write_text(path.name)
    before = contents(tmp_path)
    for model in (saved.model, nn.Identity()):
        finder = Checkpointer(model, str(tmp_path))

        def find(finder=finder):
            with caplog.at_level(logging.WARNING):
                found = finder.get_checkpoint_file()
            return found + "\n" + caplog.text

        found, _, log = in_a_process(find).partition("\n")
        assert found == str(tmp_path / "model_0000029.pth"), found
        assert "model_0000039.pth is damaged or refused, and is passed over: " in log
    assert contents(tmp_path) == before


def test_hostile_pointers_are_hints(saved, tmp_path):
    pointer = tmp_path / "last_checkpoint"
    for make in (lambda: os.mkfifo(pointer), lambda: pointer.symlink_to("/dev/zero"), pointer.mkdir):
        pointer.unlink() if not pointer.is_dir() else pointer.rmdir()
        make()
        found = in_a_process(saved.get_checkpoint_file)
        assert found == str(tmp_path / "model_0000029.pth")
