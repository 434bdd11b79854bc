"""Published files of the network inside a pyramid start a detector on that pyramid."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from querydet.checkpoint import Checkpointer
from tests.modeling.backbones.small import small_detector

INNER = {"resnet_fpn": "bottom_up", "vit": "net"}
ABSENT = ("rel_pos_h", "rel_pos_w")  # in a masked autoencoder


def network_file(name: str, folder: Path, without: str = "") -> tuple[str, dict[str, np.ndarray]]:
    """A file as Detectron2's model zoo has them, of the network in a small backbone."""
    network = getattr(small_detector(name).backbone, INNER[name])
    state = {key: value.numpy() for key, value in network.state_dict().items() if not key.endswith(ABSENT)}
    state = {key: value for key, value in state.items() if not without or without not in key}
    path = folder / f"{name}.pkl"
    path.write_bytes(pickle.dumps({"model": state, "__author__": "test", "matching_heuristics": True}))
    return str(path), state


def shifted_detector(name: str) -> torch.nn.Module:
    detector = small_detector(name)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(1)
    return detector


@pytest.mark.parametrize("name", INNER)
def test_the_network_is_loaded_and_the_pyramid_keeps_its_initial_weights(name: str, tmp_path: Path) -> None:
    path, state = network_file(name, tmp_path)
    detector = shifted_detector(name)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    Checkpointer(detector, str(tmp_path)).load(path)
    prefix = f"backbone.{INNER[name]}."
    for key, value in detector.state_dict().items():
        source = state.get(key.removeprefix(prefix)) if key.startswith(prefix) else None
        assert torch.equal(value, before[key] if source is None else torch.as_tensor(source)), key


@pytest.mark.parametrize(("name", "without"), [("resnet_fpn", "res4"), ("vit", "blocks.1.attn.qkv")])
def test_a_network_that_lacks_matrices_is_refused(name: str, without: str, tmp_path: Path) -> None:
    path, _ = network_file(name, tmp_path, without)
    with pytest.raises(ValueError, match=r"but not of this model's backbone[\s\S]*missing in the file"):
        Checkpointer(shifted_detector(name), str(tmp_path)).load(path)
