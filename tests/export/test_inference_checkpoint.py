"""A checkpoint for inference holds what inference needs, and loads as it."""

import torch

from querydet.checkpoint import load_weights
from querydet.checkpoint.training_only import INFERENCE_ONLY, training_only_keys
from querydet.export.inference_checkpoint import export_checkpoint
from tests.models import make_inputs, tiny_detector


def test_the_file_detects_what_the_model_detects(tmp_path):
    model = tiny_detector("group_dino", seed=1).eval()
    path = str(tmp_path / "model.pth")
    export_checkpoint(model, path, ["cat", "dog"])
    content = torch.load(path, weights_only=True)
    assert set(content["model"]) == set(model.state_dict()) - training_only_keys(model) < set(model.state_dict())
    assert content["class_names"] == ["cat", "dog"]
    assert content[INFERENCE_ONLY] is True
    other = tiny_detector("group_dino", seed=2).eval()
    load_weights(other, path)
    with torch.no_grad():
        (wanted,), (found,) = model(make_inputs([(64, 96)])), other(make_inputs([(64, 96)]))
    assert torch.equal(found["instances"].scores, wanted["instances"].scores)
    assert torch.equal(found["instances"].pred_boxes.tensor, wanted["instances"].pred_boxes.tensor)
