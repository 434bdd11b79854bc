"""Some parts of a model from a checkpoint: they are the file's, everything else is as it was, and errors name parts."""

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor, nn

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.conversion.pipeline import convert_content, save_converted
from querydet.checkpoint.settings import KEY
from tests.checkpoint.conversion.layouts import tiny
from tests.checkpoint.small_detector import Detector, imagenet_file
from tests.models import tiny_config, tiny_detector

PREFIX = ("backbone", "neck", "encoder")


def saved(model: nn.Module, folder: Path, **content: Any) -> str:
    """A file with the weights of a model."""
    path = folder / "source.pth"
    torch.save({"model": model.state_dict(), **content}, path)
    return str(path)


def load(model: nn.Module, path: str, *parts: str, **switches: Any) -> None:
    checkpointer = Checkpointer(model, **{key: value for key, value in switches.items() if key == "class_names"})
    checkpointer.parts = parts
    for key in ("adapt", "allow_mismatch"):
        setattr(checkpointer, key, switches.get(key, False))
    checkpointer.load(path)


def check(model: nn.Module, fresh: dict[str, Tensor], source: dict[str, Tensor], parts: tuple[str, ...]) -> None:
    """Weights of the parts are the file's, all others are those from before."""
    assert {name.partition(".")[0] for name in fresh} > set(parts)
    for name, value in model.state_dict().items():
        assert torch.equal(value, (source if name.partition(".")[0] in parts else fresh)[name]), name


@pytest.mark.parametrize("parts", [PREFIX, ("backbone",), ("decoder", "heads")])
def test_the_parts_are_those_of_the_file_and_all_others_as_they_were(tmp_path: Path, parts: tuple[str, ...]) -> None:
    source, model = tiny_detector("dino"), tiny_detector("dino", seed=1)
    fresh = copy.deepcopy(model.state_dict())
    load(model, saved(source, tmp_path), *parts)
    check(model, fresh, source.state_dict(), parts)


def test_other_parts_may_be_of_another_method_with_other_classes(tmp_path: Path) -> None:
    """Group DETR, table 1: the encoder of a detector with one group, of as many classes as it likes."""
    source = tiny_detector("conditional_detr")
    model = tiny_detector("group_conditional_detr", seed=1, num_classes=9)
    fresh = copy.deepcopy(model.state_dict())
    load(model, saved(source, tmp_path, class_names=["a", "b", "c", "d", "e"]), *PREFIX)
    check(model, fresh, source.state_dict(), PREFIX)


@pytest.mark.parametrize("layout", ["dino_4scale", "deformable_two_stage", "group_detr_official"])
def test_converted_files_of_published_layouts(tmp_path: Path, layout: str) -> None:
    converted = convert_content(tiny(layout))
    parts = tuple(part for part in PREFIX if any(name.startswith(part) for name in converted.state))
    path = save_converted(converted, str(tmp_path / "converted.pkl"))[0]
    config = converted.fit.cfg.model
    config.backbone = tiny_config("dino").backbone
    config.backbone.channels = config.neck.in_channels
    config.num_classes = 3
    model = instantiate(config)
    fresh = copy.deepcopy(model.state_dict())
    load(model, path, *parts)
    check(model, fresh, converted.state, parts)


def test_backbones_of_detectron2(tmp_path: Path) -> None:
    path, model = tmp_path / "imagenet.pkl", Detector()
    torch.manual_seed(1)
    imagenet_file(path)
    fresh = copy.deepcopy(model.state_dict())
    load(model, str(path), "backbone")
    assert not torch.equal(model.state_dict()["backbone.0.weight"], fresh["backbone.0.weight"])
    assert torch.equal(model.state_dict()["box_head.weight"], fresh["box_head.weight"])
    imagenet_file(path, leave_out=["1.bias"])  # a vector may be missing, as without the switch
    load(Detector(), str(path), "backbone")
    with pytest.raises(ValueError, match=r"names 'box_head', but the file has no weights of it; its parts"):
        load(Detector(), str(path), "backbone", "box_head")


def test_the_backbone_of_a_whole_detector_of_detectron2(tmp_path: Path) -> None:
    source, model = tiny_detector("dino"), tiny_detector("dino", seed=1)
    state = {name: value for name, value in source.state_dict().items() if name.startswith("backbone.")}
    other = {"proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4), "roi_heads.x": torch.ones(1)}
    torch.save({"model": state | other, "__author__": "Detectron2 Model Zoo"}, tmp_path / "model_final.pth")
    fresh = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="does not fit the model"):
        load(model, str(tmp_path / "model_final.pth"))
    load(model, str(tmp_path / "model_final.pth"), "backbone")
    check(model, fresh, state, ("backbone",))


def test_parts_that_the_model_or_the_file_does_not_have(tmp_path: Path) -> None:
    model = tiny_detector("dino")
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")}
    torch.save({"model": state}, tmp_path / "source.pth")
    parts = "backbone, neck, encoder, selection, denoising, decoder, heads"
    with pytest.raises(ValueError, match=f"train.init_parts names 'input_proj', but the model's parts are {parts}"):
        load(model, str(tmp_path / "source.pth"), "backbone", "input_proj")
    with pytest.raises(ValueError, match=r"names 'encoder', but the file has no weights of it; its parts"):
        load(model, str(tmp_path / "source.pth"), *PREFIX)


def test_inside_of_the_parts_every_difference_is_refused(tmp_path: Path) -> None:
    path = saved(tiny_detector("dino"), tmp_path)
    wider = tiny_detector("dino", encoder__layer__ffn_dim=64, decoder__layer__ffn_dim=64)
    with pytest.raises(ValueError, match=r"encoder.layers.0.ffn.linear1.weight: \(48, 32\) in the file, \(64") as error:
        load(wider, path, *PREFIX)
    assert "decoder" not in str(error.value)
    load(wider, path, *PREFIX, allow_mismatch=True)
    deeper = tiny_detector("dino", encoder__num_layers=3, decoder__num_layers=1)
    with pytest.raises(ValueError, match=r"missing in the file:\n    encoder.layers.2") as error:
        load(deeper, path, *PREFIX)
    assert "decoder" not in str(error.value)


def test_settings_and_weights_of_other_parts_do_not_matter(tmp_path: Path) -> None:
    source, model = tiny_detector("dino"), tiny_detector("dino", seed=1)
    with torch.no_grad():
        source.decoder.norm.weight.fill_(torch.nan)
    path = saved(source, tmp_path, **{KEY: {"heads.inverse_sigmoid_eps": 0.5}})
    load(model, path, *PREFIX)
    with pytest.raises(ValueError, match="NaN or infinite weights"):
        load(model, path, "decoder")
    with pytest.raises(ValueError, match=r"model\.heads\.inverse_sigmoid_eps"):
        load(model, path, "heads")


def test_classes_of_the_parts_are_found_by_name_with_surgery(tmp_path: Path) -> None:
    source, model = tiny_detector("dino"), tiny_detector("dino", seed=1, num_classes=3, neck__num_levels=3)
    fresh = copy.deepcopy(model.state_dict())
    path = saved(source, tmp_path, class_names=["car", "dog", "lamp", "person", "cat"])
    load(model, path, "selection", "encoder", adapt=True, class_names=["cat", "bicycle", "car"])
    state, row = model.state_dict(), "selection.proposals.class_head.weight"
    assert torch.equal(state[row][[0, 2]], source.state_dict()[row][[4, 0]])
    assert torch.equal(state[row][1], fresh[row][1])
    for name in ("heads.class_heads.0.weight", "neck.level_embed", "denoising.label_embed.weight"):
        assert torch.equal(state[name], fresh[name])


def test_surgery_needs_a_similar_detector_unless_the_backbone_alone_is_taken(tmp_path: Path) -> None:
    source, model = tiny_detector("dino"), tiny_detector("dino", seed=1, num_classes=3)
    state = {name: value for name, value in source.state_dict().items() if name != "neck.level_embed"}
    torch.save({"model": state}, tmp_path / "other.pth")
    fresh = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"the file has no 'neck\.level_embed': it is no detector"):
        load(model, str(tmp_path / "other.pth"), "backbone", "encoder", adapt=True)
    load(model, str(tmp_path / "other.pth"), "backbone", adapt=True)
    check(model, fresh, state, ("backbone",))


def test_a_run_is_resumed_with_all_of_its_parts(tmp_path: Path) -> None:
    source, model = tiny_detector("dino"), tiny_detector("dino", seed=1)
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.parts = PREFIX
    checkpointer.resume(saved(source, tmp_path))
    assert checkpointer.parts == PREFIX
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


def test_what_is_loaded_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="querydet"):
        load(tiny_detector("dino"), saved(tiny_detector("dino"), tmp_path), "backbone", "neck")
    assert "train.init_parts: only backbone, neck of the checkpoint is loaded" in caplog.text
