"""Files of strangers: read without running what they hold, and refused with a reason and a remedy."""

import argparse
import builtins
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.reading import read_checkpoint
from tests.checkpoint.hostile import Call

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


def payloads(mark):
    """Objects whose pickles write a file when they are opened the old way."""
    return {
        "os.system": Call(os.system, f"touch {mark}"),
        "open": Call(builtins.open, str(mark), "w"),
        "exec": Call(builtins.exec, f"open({str(mark)!r}, 'w')"),
        "subprocess": Call(subprocess.Popen, ["touch", str(mark)]),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "numpy": Call(np.save, str(mark), np.zeros(1)),
        "torch": Call(torch.save, torch.zeros(1), str(mark)),
        "pickle": Call(pickle.loads, pickle.dumps(Call(os.system, f"touch {mark}"))),
    }


KINDS = ("os.system", "open", "exec", "subprocess", "getattr", "numpy", "torch", "pickle")


def write(path, content, way):
    if way == "pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "pth")


@pytest.mark.parametrize("way", ["pth", "legacy.pth", "pkl"])
@pytest.mark.parametrize("kind", KINDS)
def test_code_in_a_file_does_not_run(tmp_path, kind, way):
    mark = tmp_path / "ran.npy"
    content = {"model": {"weight": np.zeros(2) if way == "pkl" else torch.zeros(2)}, "extra": payloads(mark)[kind]}
    path = tmp_path / f"model.{way}"
    write(path, content, way)
    for read in (read_checkpoint, Checkpointer(nn.Linear(1, 1)).load):
        with pytest.raises(ValueError, match=r"(was refused: .*Nothing was run|cannot be read)"):
            read(str(path))
    assert not mark.exists()


def test_the_refusal_names_what_was_found_and_the_way_out(tmp_path):
    write(tmp_path / "model.pth", {"model": {}, "x": Call(os.system, "true")}, "pth")
    with pytest.raises(ValueError, match=r"holds (posix|nt)\.system, .*--trust"):
        read_checkpoint(str(tmp_path / "model.pth"))


@pytest.mark.parametrize("way", ["pth", "pkl"])
def test_own_old_files_can_be_trusted(tmp_path, way):
    mark = tmp_path / "ran"
    write(tmp_path / f"model.{way}", {"model": {}, "x": payloads(mark)["open"]}, way)
    assert "x" in read_checkpoint(str(tmp_path / f"model.{way}"), trust=True)
    assert mark.exists()


def test_caffe2_files_are_read_as_detectron2_reads_them(tmp_path):
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": np.ones(3), "conv1_w_momentum": np.ones(3)}}, protocol=2))
    found = read_checkpoint(str(path))
    assert list(found["model"]) == ["conv1_w"]
    assert found["matching_heuristics"]
    assert found["__author__"] == "Caffe2"


def test_official_files_with_options_and_numbers_are_read(tmp_path):
    path = tmp_path / "checkpoint.pth"
    options = argparse.Namespace(nheads=8, lr=1e-4, backbone="resnet50", best=np.float64(0.5), step=np.int64(3))
    torch.save({"model": STATE, "args": options, "epoch": 11, "best": np.float32(1.5)}, path)
    found = read_checkpoint(str(path))
    assert found["args"].nheads == 8
    assert found["args"].best == 0.5
    assert found["best"] == 1.5
    assert torch.equal(found["model"]["weight"], STATE["weight"])


def test_safetensors_are_read_with_their_notes(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "model.safetensors", {"author": "someone"})
    found = read_checkpoint(str(tmp_path / "model.safetensors"))
    assert found["metadata"] == {"author": "someone"}
    assert torch.equal(found["model"]["bias"], STATE["bias"])


@pytest.mark.parametrize("kind", ["pth", "safetensors", "pkl"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path, kind, part):
    path = tmp_path / f"model.{kind}"
    if kind == "safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        write(path, {"model": {"weight": STATE["weight"].numpy()} if kind == "pkl" else STATE}, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"truncated|damaged|cannot be read"):
        read_checkpoint(str(path))


def test_flipped_bit_is_found(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": STATE}, path)
    content = bytearray(path.read_bytes())
    content[content.index(STATE["weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="wrong checksum"):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty: get it again"),
        (b"<!DOCTYPE html><html>quota exceeded</html>", "a web page"),
        (b"\n <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x89PNG\r\n", "a picture"),
        (b"\x1f\x8b\x08", "unpack it first"),
        (b"some text", "of an unknown type"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, content, reason):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_checkpoint(str(path))


def test_zip_that_is_no_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("photo.txt", "x")
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(str(tmp_path / "model.pth"))


def test_absent_file_and_bare_tensor(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_checkpoint(str(tmp_path / "none.pth"))
    torch.save(torch.zeros(1), tmp_path / "model.pth")
    with pytest.raises(ValueError, match="holds a Tensor instead of a dict"):
        read_checkpoint(str(tmp_path / "model.pth"))
