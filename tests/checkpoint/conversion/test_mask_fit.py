"""The mask branch of the config that is chosen for published weights."""

import argparse
import re

import pytest
import torch
from detectron2.config import instantiate

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.mask_families import MASK_HEAD
from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.conversion.revert import revert_state_dict
from querydet.config import get_config, load_config, save_config
from querydet.modeling.masks import AttentionMapHead
from tests.checkpoint.conversion.test_convert_dense import detr, state_of
from tests.checkpoint.published import layouts, load_layout, make_state
from tests.models import make_inputs

MS_DETR = "ms_mask_deformable_detr_r50_300"
FINE = {"res4": 1024, "res3": 512, "res2": 256}  # beside the coarsest map, of a ResNet


def head_state(halve, prefix="detr.", widths=FINE, **arguments):
    """Weights of a mask head at full size, under their published names."""
    head = AttentionMapHead(in_channels=widths, halve=halve, **arguments)
    official = {f"masks.head.{name}": value for name, value in head.state_dict().items()}
    renamed = {}
    for name, value in official.items():
        theirs = next((theirs, ours) for theirs, ours in MASK_HEAD if name.startswith(ours.split("{}")[0]))
        number = name.removeprefix(theirs[1].split("{}")[0]).split(".")[0]
        renamed[theirs[0].format(number) + name.removeprefix(theirs[1].format(number))] = value
    return renamed


def of_detector(state, head):
    return {**{f"detr.{name}": value for name, value in state.items()}, **head}


def test_the_names_of_the_test_are_those_of_the_layout():
    if MS_DETR not in layouts():
        pytest.skip(f"no layout {MS_DETR} in QUERYDET_LAYOUTS_DIR")
    recorded = {name: tuple(entry["shape"]) for name, entry in load_layout(MS_DETR)["keys"].items()}
    head = head_state(True, widths={"res5": 2048, "res4": 1024, "res3": 512})
    assert {name: tuple(value.shape) for name, value in head.items()} == {
        name: shape for name, shape in recorded.items() if not name.startswith("detr.")
    }


def test_masks_of_ms_detr_choose_its_recipe():
    state = make_state(load_layout(MS_DETR))
    options = argparse.Namespace(**load_layout(MS_DETR)["config"])
    found = convert_content({"model": state, "args": options}, coco_classes=True)
    assert found.fit.recipe == "projects/ms_detr/configs/ms_mask_deformable_detr_r50_50ep.py"
    assert not found.fit.changes, "the recipe is the published model"
    with pytest.raises(ValueError, match="masks=False"):
        convert_content({"model": state, "args": argparse.Namespace(**{**vars(options), "masks": False})})


@pytest.mark.slow
def test_masks_of_the_baseline_choose_its_recipe():
    layout = load_layout("deformable_detr_r50_two_stage")
    state = of_detector(make_state(layout), head_state(True, widths={"res5": 2048, "res4": 1024, "res3": 512}))
    found = convert_content({"model": state})
    assert found.fit.recipe == "projects/deformable_detr/configs/mask_deformable_detr_r50_50ep.py"
    assert found.fit.cfg.model.encoder.layer.ffn_dim == layout["config"]["dim_feedforward"]
    assert_there_and_back(state, found)


def assert_there_and_back(state, found):
    back = revert_state_dict(found.state)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], value) for name, value in state.items())


@pytest.mark.parametrize(("layout", "halve"), [("deformable_detr_r50", True), ("ms_detr_pp_r50_900", False)])
@pytest.mark.slow
def test_a_recipe_without_masks_gets_the_head_of_the_file(layout, halve, tmp_path):
    widths = {"res5": 2048, "res4": 1024, "res3": 512} if halve else FINE
    state = of_detector(make_state(load_layout(layout)), head_state(halve, widths=widths))
    found = convert_content({"model": state})
    head = found.fit.cfg.model.masks.head
    assert dict(head.in_channels) == widths
    assert (head.halve, head.level) == (halve, -1 if halve else -2), "the level of stride 64 or 32"
    maps = ["res3", "res4", "res5"] if halve else ["res2", "res3", "res4", "res5"]
    assert list(found.fit.cfg.model.backbone.out_features) == maps
    assert list(found.fit.cfg.model.neck.in_channels) == ["res3", "res4", "res5"]
    save_config(found.fit.cfg, str(tmp_path / "config.yaml"))
    restored = load_config(str(tmp_path / "config.yaml"))
    build_on_meta(restored.model).load_state_dict(found.state, assign=True)
    printed = load_config(found.fit.recipe, found.fit.overrides())
    save_config(printed, str(tmp_path / "printed.yaml"))
    texts = [(tmp_path / f"{name}.yaml").read_text() for name in ("printed", "config")]
    assert len({re.sub(r"\.masks\.\w+\.(?=[A-Z])", ".masks.", text) for text in texts}) == 1, (
        "but for places of classes"
    )
    assert_there_and_back(state, found)


def test_panoptic_files_of_detr_convert_in_its_own_wiring():
    shapes = {name: (251, *shape[1:]) if "class_embed" in name else shape for name, shape in detr().items()}
    state = of_detector(state_of(shapes), head_state(False))
    found = convert_content({"model": state, "args": argparse.Namespace(masks=True, dilation=False, nheads=8)})
    model = found.fit.cfg.model
    assert found.conversion.family.name == "official, DETR, with masks"
    assert found.fit.recipe == "projects/detr/configs/detr_r50_50ep.py"
    assert (model.num_classes, model.masks.head.level, model.masks.head.halve) == (250, -1, False)
    assert dict(model.masks.head.in_channels) == FINE
    assert dict(model.neck.in_channels) == {"res5": 2048}
    assert {*found.conversion.mapped, *found.conversion.aliases} == set(state)
    assert_there_and_back(state, found)


@torch.no_grad()
def test_the_detector_of_a_panoptic_file_computes_masks():
    model = convert_content({"model": of_detector(state_of(detr()), head_state(False))}).fit.cfg.model
    model.encoder.num_layers = model.decoder.num_layers = 1
    (result,) = instantiate(model).eval()(make_inputs([(65, 97)]))
    assert result["instances"].pred_masks.shape[1:] == (65, 97)


@pytest.mark.parametrize(
    "gone", ["mask_head.adapter2.weight", "bbox_attention.k_linear.weight", "mask_head.lay1.weight"]
)
def test_a_missing_weight_of_the_head_is_named(gone):
    state = of_detector(state_of(detr()), head_state(False))
    del state[gone]
    with pytest.raises(ValueError, match=gone.replace(".", r"\.")):
        convert_content({"model": state})


@pytest.mark.slow
def test_a_head_of_other_heads_and_pixels_of_another_width_show_in_the_config():
    state = of_detector(state_of(detr()), head_state(False, num_heads=16))
    assert convert_content({"model": state}).fit.cfg.model.masks.head.num_heads == 16
    narrow = get_config("common/models/mask2former.py").model
    narrow.masks.head.mask_dim = 64
    official = revert_state_dict(build_on_meta(narrow).state_dict())
    state = {name: torch.zeros(1).expand(value.shape) for name, value in official.items()}
    assert convert_content({"model": state}).fit.cfg.model.masks.head.mask_dim == 64
