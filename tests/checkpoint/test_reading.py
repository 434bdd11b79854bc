"""Files of strangers: read without running what they hold, and refused with a reason and a remedy."""

import argparse
import builtins
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.unpickling import load_arrays
from querydet.checkpoint.weights import find_weights

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


class Call:
    """Its pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


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


def test_pickled_names_cannot_be_reached_through_what_is_allowed():
    # protocol 4 may ask for attributes of attributes
    for module, name in (("numpy", "ndarray.tofile"), ("collections", "OrderedDict.update"), ("numpy", "fromfile")):
        stream = (
            b"\x80\x04" + b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93."
        )
        with pytest.raises(pickle.UnpicklingError, match=f"{module}.{name}"):
            load_arrays(stream)


def test_arrays_that_hold_objects_are_refused(tmp_path):
    path = tmp_path / "model.pkl"
    write(path, {"model": {"weight": np.array([None, {}], dtype=object)}, "__author__": "x"}, "pkl")
    with pytest.raises(ValueError, match=r"instead of numbers|unknown form"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_arrays_of_every_kind_and_protocol_are_read(tmp_path, protocol):
    arrays = {
        "float": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "big": np.arange(3, dtype=">i8"),
        "half": np.ones(2, np.float16),
        "flag": np.array([True, False]),
        "empty": np.zeros((0, 4), np.float32),
        "number": np.float32(3),
    }
    content = {"model": OrderedDict(arrays), "__author__": "someone", "epochs": [1, 2.5, None, (True, "x")]}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_checkpoint(str(path))
    assert found["epochs"] == content["epochs"]
    for name, value in arrays.items():
        assert found["model"][name].dtype == value.dtype
        assert np.array_equal(found["model"][name], value)
    assert find_weights(found, "x").state["big"].tolist() == [0, 1, 2]


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


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state", ""])
def test_weights_are_found_under_every_usual_key(key):
    found = find_weights({key: STATE, "epoch": 3} if key else STATE, "x")
    assert set(found.state) == set(STATE)
    assert found.source == key
    assert not found.notes


def test_wrapper_prefix_is_removed_and_mixed_prefixes_refused():
    wrapped = {"module." + name: value for name, value in STATE.items()}
    found = find_weights({"model": wrapped}, "x")
    assert set(found.state) == set(STATE)
    assert "'module.' of a wrapper was removed" in found.notes[0]
    with pytest.raises(ValueError, match="mixes two models"):
        find_weights({"model": {**wrapped, "bias": STATE["bias"]}}, "x")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single_with_a_note(dtype):
    found = find_weights({"model": {name: value.to(dtype) for name, value in STATE.items()}}, "x")
    assert all(value.dtype == torch.float32 for value in found.state.values())
    assert f"2 tensors are stored in {str(dtype)[6:]}" in found.notes[0]


def test_average_is_taken_when_asked_for_or_alone():
    average = {"module." + name: value + 1 for name, value in STATE.items()}
    both = {"model": STATE, "ema_model": average}
    assert torch.equal(find_weights(both, "x").state["bias"], STATE["bias"])
    assert find_weights(both, "x").other == "ema_model"
    assert torch.equal(find_weights(both, "x", ema=True).state["bias"], STATE["bias"] + 1)
    alone = find_weights({"ema_model": average}, "x")
    assert torch.equal(alone.state["bias"], STATE["bias"] + 1)
    assert "only the moving average" in alone.notes[0]
    with pytest.raises(ValueError, match="holds no moving average"):
        find_weights({"model": STATE}, "x", ema=True)


def test_content_without_weights_is_described():
    with pytest.raises(ValueError, match=r"holds no weights under model, .*but epoch \(int\)"):
        find_weights({"epoch": 3}, "x")
    with pytest.raises(ValueError, match="'weight': str instead of a tensor"):
        find_weights({"model": {"weight": "x"}}, "x")
