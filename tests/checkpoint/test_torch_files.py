"""Files of torch, read as torch reads them."""

import argparse
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from querydet.checkpoint import limits
from querydet.checkpoint.limits import TooLarge
from querydet.checkpoint.torch_files import load_archive, load_legacy
from tests.checkpoint.hostile import pth, tensor, weight


def content():
    """What real files hold."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    whole = torch.arange(12.0)
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "views": [whole[2:5], whole.view(3, 4).t(), torch.ones(1).expand(7), torch.zeros(0, 3), torch.tensor(3)],
        "kinds": [torch.ones(2, dtype=kind) for kind in (torch.bool, torch.int8, torch.float16, torch.bfloat16)],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "args": argparse.Namespace(lr=1e-4, betas=(0.9, 0.999), flag=np.float64(2), names=["a"]),
        "numbers": [np.float32(1.5), np.int64(3), 2**70, -1, None, b"bytes", bytearray(b"x"), {1, 2}, Counter("aab")],
        "types": [torch.float32, torch.device("cpu"), torch.Size([1, 2])],
        (1, "key"): OrderedDict(a=1),
    }


def same(left, right):
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, argparse.Namespace):
        return same(vars(left), vars(right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@pytest.mark.parametrize("way", ["archive", "lazily", "legacy", "other name"])
def test_what_real_files_hold_is_read(tmp_path, way):
    path = tmp_path / ("x.safetensors" if way == "other name" else "x.pth")
    saved = content()
    torch.save(saved, path, _use_new_zipfile_serialization=way != "legacy")
    found = load_legacy(str(path)) if way == "legacy" else load_archive(str(path), lazily=way == "lazily")
    assert same(found, saved)


@pytest.mark.parametrize("lazily", [False, True])
def test_unused_bytes_are_bounded(tmp_path, monkeypatch, lazily):
    path = tmp_path / "x.pth"
    pth(weight(tensor()), [("data/0", bytes(4)), ("data/1", bytes(1000))])(path)
    load_archive(str(path), lazily)
    monkeypatch.setattr(limits, "MAX_UNUSED", 100)
    with pytest.raises(TooLarge, match="1,002 bytes that belong to no tensor"):
        load_archive(str(path), lazily)


def test_many_tensors_are_within_the_limits(tmp_path):
    state = {f"layer.{number}.weight": torch.ones(1) for number in range(5000)}
    torch.save({"model": state}, tmp_path / "x.pth")
    assert len(load_archive(str(tmp_path / "x.pth"))["model"]) == 5000
