"""Options that choose a part: stages of DETA, order and content of DINO, suppression of MS-DETR, one dilated map."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import instantiate
from omegaconf import OmegaConf

from querydet.checkpoint.conversion.pipeline import Converted, convert_content
from querydet.checkpoint.conversion.revert import revert_state_dict
from querydet.config import get_config, load_config
from tests.models import make_inputs
from tests.parity.fixture import FOLDER, Fixture
from tests.parity.own_recordings import record

pytestmark = pytest.mark.skipif(not (FOLDER / "deta.npz").exists(), reason="no parity fixtures in QUERYDET_PARITY_DIR")


def converted(name: str, drop: tuple[str, ...] = (), **change: Any) -> Converted:
    fixture = Fixture.load(name)
    state = {key: value for key, value in fixture.group("state/").items() if key not in drop}
    return convert_content({"model": state, "args": argparse.Namespace(**{**fixture.config, **change})})


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_the_stages_of_deta_are_those_that_it_was_trained_with(first: bool, second: bool) -> None:
    fit = converted("deta", assign_first_stage=first, assign_second_stage=second).fit
    model = fit.cfg.model
    assert (model.selection._target_.__name__ == "NMSSelection") == first
    assert (model.criterion.rules.encoder.assigner._target_.__name__ == "IoUAssigner") == first
    assert (model.postprocess._target_.__name__ == "NMSPostprocess") == second
    assert (model.criterion.rules.decoder.assigner._target_.__name__ == "IoUAssigner") == second
    recipes = {converted("deta", assign_first_stage=a, assign_second_stage=b).fit.recipe for a, b in ((1, 1), (0, 0))}
    assert len(recipes) == 2


def test_dino_without_a_table_of_contents_is_pure_query_selection() -> None:
    found = converted("dino_4scale", drop=("transformer.tgt_embed.weight",), embed_init_tgt=False)
    assert found.fit.cfg.model.selection.content._target_.__name__ == "SelectedFeatures"
    assert "model.selection.content={_target_:querydet.modeling.selection" in found.report()
    with pytest.raises(ValueError, match="tgt_embed"):
        converted("dino_4scale", drop=("transformer.tgt_embed.weight",), embed_init_tgt=True)


@pytest.mark.parametrize("steps", [["ca", "sa", "ffn"], ["ffn", "ca", "sa"]])
def test_the_order_of_a_layer_is_that_of_the_file(steps: list[str]) -> None:
    names = {"sa": "self_attention", "ca": "cross_attention", "ffn": "ffn"}
    fit = converted("dino_4scale", decoder_module_seq=steps).fit
    assert list(fit.cfg.model.decoder.layer.order) == [names[step] for step in steps]


@pytest.mark.parametrize("steps", [["sa", "ffn"], ["sa", "ca", "ffn", "ffn"], "sa"])
def test_another_set_of_steps_is_refused(steps: Any) -> None:
    with pytest.raises(ValueError, match="decoder_module_seq="):
        converted("dino_4scale", decoder_module_seq=steps)


def test_detached_boxes_are_no_looking_forward_twice() -> None:
    assert not converted("dino_4scale", use_detached_boxes_dec_out=True).fit.cfg.model.decoder.look_forward_twice
    assert converted("dino_4scale").fit.cfg.model.decoder.look_forward_twice


def test_ms_detr_with_learned_content_may_lack_the_auxiliary_network() -> None:
    """`--mixed_selection` without `--use_aux_ffn`."""
    options, tensors = record("own_ms_detr_3")
    state = {name.removeprefix("state/"): value for name, value in tensors.items() if name.startswith("state/")}
    found = convert_content({"model": state, "args": argparse.Namespace(**options["config"])})
    assert found.fit.cfg.model.selection.content is not None
    assert found.fit.cfg.model.decoder.layer.one_to_many.ffn is None


@pytest.mark.parametrize("threshold", [0.5, 0.85])
def test_the_suppression_of_ms_detr_is_that_of_the_file(threshold: float) -> None:
    postprocess = converted("ms_detr_pp", nms_iou_threshold=threshold).fit.cfg.model.postprocess
    assert postprocess._target_.__name__ == "NMSPostprocess"
    assert (postprocess.iou_threshold, postprocess.num_detections, postprocess.max_candidates) == (threshold, 60, 10000)
    assert converted("ms_detr_pp").fit.cfg.model.postprocess._target_.__name__ == "TopKPostprocess"


@pytest.mark.parametrize("change", [{"nms_iou_threshold": 0.6}, {}])
def test_what_is_printed_as_changed_makes_the_same_parts(change: dict[str, float], tmp_path: Path) -> None:
    if change:
        found = converted("ms_detr_pp", **change)
    else:
        drop = ("transformer.tgt_embed.weight",)
        found = converted("dino_4scale", drop, embed_init_tgt=False, decoder_module_seq=["ca", "sa", "ffn"])
    same = load_config(found.fit.recipe, [each for each in found.fit.overrides() if "in_channels" not in each])
    for part in ("selection.content", "postprocess", "decoder.layer.order"):
        ours, theirs = (OmegaConf.select(cfg.model, part) for cfg in (found.fit.cfg, same))
        assert _named(OmegaConf.to_container(ours)) == _named(OmegaConf.to_container(theirs)), part


def _named(node: Any) -> Any:
    """A part with its class by name."""
    if not isinstance(node, dict) or isinstance(node["_target_"], str):
        return node
    return {**node, "_target_": f"{node['_target_'].__module__}.{node['_target_'].__qualname__}"}


RECIPE = "projects/deformable_detr/configs/deformable_detr_r50_single_scale_dc5_50ep.py"


@torch.no_grad()
def test_the_published_model_of_one_dilated_level_converts_and_runs() -> None:
    cfg = get_config(RECIPE)
    cfg.model.encoder.num_layers = cfg.model.decoder.num_layers = 2
    torch.manual_seed(0)
    detector = instantiate(cfg.model).eval()
    theirs = revert_state_dict(detector.state_dict())
    options = argparse.Namespace(
        dilation=True, with_box_refine=False, two_stage=False, num_feature_levels=1, num_queries=300, nheads=8
    )
    found = convert_content({"model": theirs, "args": options})
    assert found.fit.recipe == RECIPE
    model = instantiate(found.fit.cfg.model).eval()
    model.load_state_dict(found.state, strict=True)
    inputs = make_inputs([(65, 97)])
    (ours,), (wanted,) = model(inputs), detector(inputs)
    assert torch.equal(ours["instances"].scores, wanted["instances"].scores)
    shape = model.backbone.output_shape()["res5"]
    assert (shape.channels, model.backbone(torch.zeros(1, 3, 64, 96))["res5"].shape[-2:]) == (2048, (4, 6))
    plain = convert_content({"model": theirs, "args": argparse.Namespace(**{**vars(options), "dilation": False})})
    assert plain.fit.cfg.model.backbone.stages != found.fit.cfg.model.backbone.stages


def test_dilation_with_several_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="dilation=True, which no part here does"):
        converted("deformable_plain", dilation=True)
