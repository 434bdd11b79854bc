"""Checkpoints that differ from the model: what is refused, and what is listed."""

import pytest
import torch

from querydet.checkpoint import Checkpointer
from tests.checkpoint.small_detector import Detector, imagenet_file
from tests.models import tiny_detector


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
    assert "newly initialized" in caplog.text


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


def test_backbone_weights_are_enough(tmp_path, caplog):
    caplog.set_level("INFO")
    imagenet_file(tmp_path / "R.pkl", leave_out=["1.bias"])
    model = Detector()
    Checkpointer(model).load(str(tmp_path / "R.pkl"))
    assert "3 tensors loaded" in caplog.text
    assert "Newly initialized in the backbone: backbone.1.bias" in caplog.text
    assert "fc.weight" in caplog.text


def test_weights_of_another_backbone_are_refused(tmp_path):
    imagenet_file(tmp_path / "R.pkl", leave_out=["0.weight"])
    with pytest.raises(ValueError, match=r"not of this model's backbone\n.*\n    backbone.0.weight"):
        Checkpointer(Detector()).load(str(tmp_path / "R.pkl"))


def test_weights_of_patterns_alone_load_as_before_and_are_refused_with_the_remedy_elsewhere(tmp_path):
    """Files of version 0.1 and of configs without a shared content."""
    old = tiny_detector("dn_dab_detr", selection__num_patterns=3)
    assert old.selection.content.weight.shape == (3, 31)
    torch.save({"model": old.state_dict()}, tmp_path / "old.pth")
    same = tiny_detector("dn_dab_detr", seed=1, selection__num_patterns=3)
    Checkpointer(same, str(tmp_path)).load(str(tmp_path / "old.pth"))
    assert torch.equal(same.selection.content.weight, old.selection.content.weight)
    new = tiny_detector("dn_dab_detr", selection__num_patterns=3, selection__shared_content=True)
    with pytest.raises(ValueError, match=r"patterns alone: model\.selection\.shared_content=False reads them"):
        Checkpointer(new, str(tmp_path)).load(str(tmp_path / "old.pth"))
    torch.save({"model": new.state_dict()}, tmp_path / "new.pth")
    with pytest.raises(ValueError, match=r"a shared content: model\.selection\.shared_content=True reads them"):
        Checkpointer(old, str(tmp_path)).load(str(tmp_path / "new.pth"))
