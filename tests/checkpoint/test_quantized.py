"""A mark tells files of 8-bit detectors from checkpoints; what loads a checkpoint refuses them."""

import pytest
import torch

from querydet.checkpoint import Checkpointer, load_weights
from querydet.checkpoint.quantized import KEY, is_marked, is_quantized, mark
from tests.models import tiny_detector


def test_a_marked_file_is_known_and_no_other(tmp_path):
    marked, plain, text = (str(tmp_path / name) for name in ("marked.pth", "plain.pth", "text.pth"))
    torch.save({KEY: mark({"version": 1}), "model": {}}, marked)
    torch.save({"model": {"weight": torch.ones(3)}}, plain)
    (tmp_path / "text.pth").write_text("querydet_8_bit")
    assert is_quantized(marked)
    assert not is_quantized(plain)
    assert not is_quantized(text)
    assert not is_quantized(str(tmp_path / "missing.pth"))
    assert not is_quantized("detectron2://ImageNetPretrained/MSRA/R-50.pkl")


@pytest.mark.parametrize("content", [{}, {KEY: None}, {KEY: "querydet_8_bit"}, {KEY: {"kind": "other"}}])
def test_only_the_whole_mark_counts(content):
    assert not is_marked(content)


@pytest.mark.parametrize("load", [load_weights, lambda model, path: Checkpointer(model).load(path)])
def test_training_and_conversion_refuse_it(tmp_path, load):
    path = str(tmp_path / "marked.pth")
    torch.save({KEY: mark({"version": 1}), "model": {}}, path)
    with pytest.raises(ValueError, match="8 bit, which only detects"):
        load(tiny_detector("dino"), path)
