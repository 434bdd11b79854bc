"""Pickles of arrays, read without running them."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.unpickling import load_arrays
from querydet.checkpoint.weights import find_weights


def write(path, content, way):
    if way == "pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "pth")


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
