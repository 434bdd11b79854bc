"""The official layouts of DETR, DAB-DETR and the dense DN-DETR, by the names and shapes that their code gives them.

Nobody recorded these: the names are those of torch's own transformer layers (DETR), and of Conditional DETR with the
parts that DAB-DETR adds. The numbers of tensors and parameters are the published ones.
"""

import argparse
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.coco_classes import COCO_IDS
from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.surgery_rules import ClassMap, LevelMap, adapt_rows
from querydet.config import load_config
from tests.checkpoint.published import load_layout, make_state
from tests.models import tiny_detector

C = 256
LINEAR = {"weight": (C, C), "bias": (C,)}
FFN = {
    "linear1.weight": (2048, C),
    "linear1.bias": (2048,),
    "linear2.weight": (C, 2048),
    "linear2.bias": (C,),
}
ATTENTION = {
    "in_proj_weight": (3 * C, C),
    "in_proj_bias": (3 * C,),
    "out_proj.weight": (C, C),
    "out_proj.bias": (C,),
}


def named(prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def mlp(prefix: str, *widths: int) -> dict[str, tuple[int, ...]]:
    found = {}
    for number, (before, after) in enumerate(pairwise(widths)):
        found |= named(f"{prefix}.layers.{number}", {"weight": (after, before), "bias": (after,)})
    return found


def norms(prefix: str, count: int) -> dict[str, tuple[int, ...]]:
    found = {}
    for number in range(1, count + 1):
        found |= named(f"{prefix}.norm{number}", {"weight": (C,), "bias": (C,)})
    return found


def shared(classes: int) -> dict[str, tuple[int, ...]]:
    """What all of them have, with the backbone of a recorded layout."""
    recorded = load_layout("group_detr_conditional_r50_official")["keys"]
    found = {name: tuple(entry["shape"]) for name, entry in recorded.items() if name.startswith("backbone.")}
    for layer in range(6):
        place = f"transformer.encoder.layers.{layer}"
        found |= named(f"{place}.self_attn", ATTENTION) | named(place, FFN) | norms(place, 2)
        place = f"transformer.decoder.layers.{layer}"
        found |= named(place, FFN) | norms(place, 3)
    found |= named("transformer.decoder.norm", {"weight": (C,), "bias": (C,)})
    found |= named("input_proj", {"weight": (C, 2048, 1, 1), "bias": (C,)})
    found |= named("class_embed", {"weight": (classes, C), "bias": (classes,)})
    return found | mlp("bbox_embed", C, C, C, 4)


def detr() -> dict[str, tuple[int, ...]]:
    found = shared(classes=92) | {"query_embed.weight": (100, C)}
    for layer in range(6):
        for name in ("self_attn", "multihead_attn"):
            found |= named(f"transformer.decoder.layers.{layer}.{name}", ATTENTION)
    return found


def dab_detr(slopes: bool = True) -> dict[str, tuple[int, ...]]:
    found = shared(classes=91) | {"refpoint_embed.weight": (300, 4)}
    for layer in range(6):
        place = f"transformer.decoder.layers.{layer}"
        parts = ["sa_qcontent", "sa_qpos", "sa_kcontent", "sa_kpos", "sa_v"]
        parts += ["ca_qcontent", "ca_kcontent", "ca_kpos", "ca_v", "ca_qpos_sine"] + ["ca_qpos"] * (layer == 0)
        for part in [*(f"{part}_proj" for part in parts), "self_attn.out_proj", "cross_attn.out_proj"]:
            found |= named(f"{place}.{part}", LINEAR)
        if slopes:
            found |= {f"transformer.{half}.layers.{layer}.activation.weight": (1,) for half in ("encoder", "decoder")}
    found |= mlp("transformer.encoder.query_scale", C, C, C) | mlp("transformer.decoder.query_scale", C, C, C)
    found |= mlp("transformer.decoder.ref_point_head", 2 * C, C, C) | mlp(
        "transformer.decoder.ref_anchor_head", C, C, 2
    )
    return found | mlp("transformer.decoder.bbox_embed", C, C, C, 4)


def dn_dab_detr() -> dict[str, tuple[int, ...]]:
    return dab_detr() | {"label_enc.weight": (92, 255)}


def state_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    same = [[name, f"transformer.decoder.{name}"] for name in shapes if f"transformer.decoder.{name}" in shapes]
    return make_state({"keys": {name: {"shape": shape} for name, shape in shapes.items()}, "shared": same})


@pytest.mark.parametrize(
    ("layout", "recipe", "tensors"),
    [
        (detr, "projects/detr/configs/detr_r50_50ep.py", None),
        (dab_detr, "projects/dab_detr/configs/dab_detr_r50_50ep.py", None),
        (dn_dab_detr, "projects/dn_detr/configs/dn_dab_detr_r50_50ep.py", 591),
    ],
)
def test_every_key_arrives_and_covers_the_config_that_is_chosen(layout, recipe, tensors):
    state = state_of(layout())
    assert tensors is None or len(state) == tensors
    converted = convert_content({"model": state})
    assert converted.fit.recipe == recipe
    result = build_on_meta(converted.fit.cfg.model).load_state_dict(converted.state, strict=True, assign=True)
    assert not result.missing_keys
    conversion = converted.conversion
    assert {*conversion.mapped, *conversion.aliases} == set(state)
    position = converted.fit.cfg.model.neck.position_embedding
    assert (position.temperature, position.offset) == (10000.0 if layout is detr else 20.0, 0.0)
    values = {float(value.reshape(-1)[0]) for value in state.values()}
    assert values == {float(value.reshape(-1)[0]) for value in converted.state.values()}


def test_a_dilated_last_stage_is_asked_about_where_the_file_does_not_say():
    state = state_of(detr())
    said = [convert_content({"model": state, "args": argparse.Namespace(dilation=value)}) for value in (False, True)]
    assert [each.fit.recipe.split("_", 1)[1] for each in said] == ["r50_50ep.py", "r50_dc5_50ep.py"]
    assert not any("DC5" in each.report() for each in said)
    silent = convert_content({"model": state})
    assert "--config-file projects/detr/configs/detr_r50_dc5_50ep.py" in silent.report()
    given = load_config("projects/detr/configs/detr_r50_dc5_50ep.py", ["model.num_classes=91"])
    assert "DC5" not in convert_content({"model": state}, config=given).report()


def test_the_unknown_label_is_the_content_of_the_queries():
    state = state_of(dn_dab_detr())
    table = torch.randn(92, 255)
    converted = convert_content({"model": {**state, "label_enc.weight": table}}, coco_classes=True)
    assert torch.equal(converted.state["selection.content.weight"], table[91:])
    assert torch.equal(converted.state["denoising.label_embed.weight"], table[list(COCO_IDS)])
    assert converted.fit.cfg.model.num_classes == 80


def test_no_object_stays_the_last_output():
    state = state_of(detr())
    bias = torch.arange(92.0)
    state["class_embed.bias"] = bias
    converted = convert_content({"model": state}, coco_classes=True)
    assert torch.equal(converted.state["heads.class_heads.0.bias"], bias[[*COCO_IDS, 91]])
    assert converted.fit.cfg.model.num_classes == 80


def test_patterns_dilation_and_another_activation_show_in_the_config():
    state = state_of(dab_detr(slopes=False) | {"transformer.patterns.weight": (3, C)})
    options = argparse.Namespace(dilation=True, num_queries=300, num_patterns=3)
    converted = convert_content({"model": state, "args": options})
    model = converted.fit.cfg.model
    assert converted.fit.recipe == "projects/dab_detr/configs/dab_detr_r50_dc5_50ep.py"
    assert model.selection.num_patterns == 3
    assert model.encoder.layer.activation == model.decoder.layer.activation == "relu"


def test_patterns_of_dn_detr_are_added_to_the_content_of_the_unknown_label():
    state = state_of(dn_dab_detr() | {"transformer.patterns.weight": (3, C)})
    state |= {"label_enc.weight": torch.randn(92, 255), "transformer.patterns.weight": torch.randn(3, C)}
    options = argparse.Namespace(dilation=True, num_queries=300, num_patterns=3)
    converted = convert_content({"model": state, "args": options}, coco_classes=True)
    model = converted.fit.cfg.model
    assert converted.fit.recipe == "projects/dn_detr/configs/dn_dab_detr_r50_dc5_50ep.py"
    assert (model.selection.num_patterns, model.selection.shared_content) == (3, True)
    assert torch.equal(converted.state["selection.content.weight"], state["label_enc.weight"][91:])
    assert torch.equal(converted.state["selection.patterns.weight"], state["transformer.patterns.weight"])
    assert {*converted.conversion.mapped, *converted.conversion.aliases} == set(state)
    shipped = load_config("projects/dn_detr/configs/dn_dab_detr_r50_dc5_3patterns_12ep.py").model
    build_on_meta(shipped).load_state_dict(converted.state, strict=True, assign=True)


@pytest.mark.parametrize("extra", ["transformer.encoder.norm.weight", "transformer.decoder.layers.0.norm4.bias"])
def test_what_is_of_another_variant_is_named(extra):
    with pytest.raises(ValueError, match=extra.replace(".", r"\.")):
        convert_content({"model": {**state_of(detr()), extra: torch.zeros(C)}})


def test_other_classes_keep_the_output_of_no_object():
    before, after = tiny_detector("detr"), tiny_detector("detr", seed=1, num_classes=3)
    rule = ClassMap.between(after, before.state_dict(), list("abcde"), list("dxb"))
    levels = LevelMap.between(after, before.state_dict())
    key = "heads.class_heads.0.bias"
    source, initial = before.state_dict()[key], after.state_dict()[key]
    adapted = adapt_rows(key, initial, source, after, rule, levels)
    assert adapted is not None
    assert torch.equal(adapted.value, torch.stack([source[3], initial[1], source[1], source[5]]))
