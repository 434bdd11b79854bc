"""Published state dicts: recognised, converted with every key accounted for, and refused where anything is off."""

import json
import re

import pytest
import torch

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.coco_classes import COCO_IDS
from querydet.checkpoint.conversion.convert import convert_state_dict
from querydet.checkpoint.conversion.names import DETREX, HUGGINGFACE, OFFICIAL
from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.conversion.revert import revert_state_dict
from querydet.config import load_config, save_config
from tests.checkpoint.published import layouts, load_layout, make_state, published


def tiny(name, num_classes=None, **changes):
    """Content of a file of a tiny published model."""
    state, options = published(name, num_classes)
    return {"model": state, "args": options, **changes}


@pytest.mark.parametrize("name", layouts())
def test_full_size_layout_covers_the_config_that_is_chosen(name):
    layout = load_layout(name)
    state = make_state(layout)
    converted = convert_content({"model": state})
    result = build_on_meta(converted.fit.cfg.model).load_state_dict(converted.state, strict=True, assign=True)
    assert not result.missing_keys
    assert not result.unexpected_keys
    conversion = converted.conversion
    assert {*conversion.mapped, *conversion.aliases, *conversion.dropped} == set(state)
    assert not conversion.dropped
    # every parameter of the file arrives, once
    values = {float(value.reshape(-1)[0]) for value in state.values()}
    assert sorted(values) == sorted({float(value.reshape(-1)[0]) for value in converted.state.values()})


def test_chosen_config_is_a_complete_one(tmp_path):
    converted = convert_content({"model": make_state(load_layout("detrex_dino_r50_5scale"))})
    save_config(converted.fit.cfg, str(tmp_path / "config.yaml"))
    restored = load_config(str(tmp_path / "config.yaml"))
    build_on_meta(restored.model).load_state_dict(converted.state, assign=True)
    same = load_config(converted.fit.recipe, converted.fit.overrides())  # the changes that are printed
    save_config(same, str(tmp_path / "same.yaml"))
    assert (tmp_path / "same.yaml").read_text() == (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "family"), [("dino_4scale", OFFICIAL), ("detrex_dino", DETREX), ("ms_detr_pp", OFFICIAL)]
)
def test_layout_is_recognised_by_its_keys(name, family):
    assert convert_state_dict(published(name)[0]).family is family


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("transformer.level_embed", "transformer.level_embd"),
        ("transformer.decoder.layers.1.norm2.weight", "transformer.decoder.layers.1.norm9.weight"),
        ("transformer.encoder.layers.1.linear1.bias", "transformer.encoder.layers.7.linear1.bias"),
        ("input_proj.3.1.weight", "input_proj.4.1.weight"),
        ("class_embed.1.weight", "class_embed.8.weight"),
        ("transformer.decoder.bbox_embed.2.layers.0.bias", "transformer.decoder.bbox_embed.2.layers.7.bias"),
        ("label_enc.weight", "label_encoder.weight"),
        ("transformer.enc_output.weight", "transformer.encoder_output.weight"),
        ("transformer.tgt_embed.weight", "transformer.target_embed.weight"),
        ("transformer.decoder.layers.0.cross_attn.attention_weights.weight", "extra"),
    ],
)
def test_one_renamed_key_is_an_error_that_names_it(old, new):
    content = tiny("dino_4scale")
    content["model"][new] = content["model"].pop(old)
    with pytest.raises(ValueError, match=re.escape(new)):
        convert_content(content)


@pytest.mark.parametrize(
    "gone",
    ["transformer.level_embed", "transformer.decoder.norm.bias", "transformer.encoder.layers.0.norm1.weight"],
)
def test_one_missing_key_is_an_error_that_names_it(gone):
    content = tiny("dino_4scale")
    del content["model"][gone]
    with pytest.raises(ValueError, match=re.escape(gone)):
        convert_content(content)


def test_the_nearest_missing_name_is_suggested():
    content = tiny("deta")
    content["model"]["transformer.decoder.layers.1.norm3.weigth"] = content["model"].pop(
        "transformer.decoder.layers.1.norm3.weight"
    )
    with pytest.raises(ValueError, match=r"is it transformer\.decoder\.layers\.1\.norm3\.weight\?"):
        convert_content(content)


def test_unknown_layout_is_refused_with_the_nearest_and_what_it_misses():
    state = published("dino_4scale")[0]
    broken = {name: value for name, value in state.items() if "cross_attn" not in name}
    with pytest.raises(ValueError, match=r"nearest is official, but nothing begins with .*cross_attn"):
        convert_content({"model": broken})
    with pytest.raises(ValueError, match=r"no known layout has names such as conv\.weight"):
        convert_content({"model": {"conv.weight": torch.zeros(1)}})


def test_our_own_names_are_not_converted_again():
    converted = convert_content(tiny("dino_4scale"))
    with pytest.raises(ValueError, match="own names already"):
        convert_content({"model": converted.state})


def test_copies_that_differ_are_an_error():
    content = tiny("dino_4scale")
    name = "transformer.decoder.class_embed.1.weight"
    content["model"][name] = content["model"][name] + 1
    with pytest.raises(ValueError, match="have to be one parameter"):
        convert_content(content)


def test_one_tensor_of_another_shape_is_an_error():
    content = tiny("dino_4scale")
    content["model"]["transformer.decoder.layers.1.linear1.bias"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"of another shape: transformer.decoder.layers.1.linear1.bias is \(5,\)"):
        convert_content(content)


def test_options_of_the_file_decide_what_no_shape_shows():
    content = tiny("dino_5scale")
    assert content["args"].nheads == 4
    content["args"].pe_temperatureH = content["args"].pe_temperatureW = 30
    converted = convert_content(content)
    assert converted.settings["neck.position_embedding.temperature"] == 30
    assert converted.settings["neck.position_embedding.offset"] == 0
    assert converted.settings["decoder.layers.0.cross_attention.num_heads"] == 4
    assert "known from the options" in converted.report()
    assert converted.fit.cfg.model.decoder.layer.num_points == 4
    content["args"].pe_temperatureW = 31
    with pytest.raises(ValueError, match="two temperatures"):
        convert_content(content)


@pytest.mark.parametrize(
    ("name", "temperature", "offset", "eps", "shared"),
    [
        ("dino_4scale", 20, 0, 1e-3, True),
        ("detrex_dino", 10000, -0.5, 1e-3, False),
        ("dn_dab_deformable", 10000, -0.5, 1e-3, False),
        ("deformable_plain", 10000, -0.5, 1e-5, True),
        ("deformable_two_stage", 10000, -0.5, 1e-5, False),
        ("detrex_deta", 10000, -0.5, 1e-3, False),
        ("detrex_h_deformable", 10000, -0.5, 1e-3, False),
    ],
)
def test_constants_are_those_of_the_code_base(name, temperature, offset, eps, shared):
    state, options = published(name)
    known = {"num_queries": getattr(options, "num_queries_one2one", None)}
    converted = convert_content({"model": state}, options=known)
    position = converted.fit.cfg.model.neck.position_embedding
    assert (position.temperature, position.offset) == (temperature, offset)
    assert converted.fit.cfg.model.heads.inverse_sigmoid_eps == eps
    assert converted.fit.cfg.model.heads.share_layers == shared


def test_given_config_with_other_constants_is_refused():
    content = tiny("dino_4scale")
    config = convert_content(content).fit.cfg
    convert_content(content, config=config)
    config.model.neck.position_embedding.temperature = 10000.0
    with pytest.raises(ValueError, match=r"position_embedding.temperature is 10000.0, set it to 20"):
        convert_content(content, config=config)


def test_given_config_of_other_sizes_is_refused():
    content = tiny("dino_4scale")
    config = convert_content(content).fit.cfg
    config.model.num_classes = 5
    with pytest.raises(ValueError, match=r"class_embed.0.weight is \(7, 64\), the model has \(5, 64\)"):
        convert_content(content, config=config)


@pytest.mark.parametrize("name", ["dino_4scale", "deformable_two_stage", "dn_dab_deformable"])
def test_selection_of_coco_classes(name):
    content = tiny(name, num_classes=91)
    state = content["model"]
    kept = convert_content(content)
    assert kept.fit.cfg.model.num_classes == 91
    assert "--select-coco-classes" in kept.report()
    selected = convert_content(content, coco_classes=True)
    assert selected.fit.cfg.model.num_classes == 80
    ids = torch.tensor(COCO_IDS)
    # the 80 category ids as COCO prints them
    assert len(ids) == 80
    assert set(range(1, 91)) - set(COCO_IDS) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert torch.equal(selected.state["heads.class_heads.0.weight"], state["class_embed.0.weight"][ids])
    assert torch.equal(selected.state["heads.class_heads.0.bias"], state["class_embed.0.bias"][ids])
    if name == "dino_4scale":  # its encoder predicts classes
        encoder = state["transformer.enc_out_class_embed.weight"]
        assert torch.equal(selected.state["selection.proposals.class_head.weight"], encoder[ids])
    if name == "deformable_two_stage":  # its encoder predicts an objectness in column 0
        encoder = state["class_embed.3.bias"]
        assert torch.equal(selected.state["selection.proposals.class_head.bias"], encoder[:80])
    if "label_enc.weight" in state:
        table = state["label_enc.weight"]
        assert torch.equal(selected.state["denoising.label_embed.weight"], table[torch.tensor([*COCO_IDS, 91])])


def test_coco_classes_of_other_than_91_outputs_are_refused():
    with pytest.raises(ValueError, match=r"from 91 outputs, but heads.class_heads.0.weight has 7"):
        convert_content(tiny("dino_4scale"), coco_classes=True)


def test_groups_of_queries_are_split_in_their_order():
    state, options = published("group_detr_official")
    table = state["query_embed.weight"]
    with pytest.raises(ValueError, match="no groups of 300: say with --num-queries"):
        convert_content({"model": state})
    converted = convert_content({"model": state, "args": options})
    groups = ["selection.embedding.weight", *(f"selection.extra_groups.{k}.weight" for k in range(2))]
    assert torch.equal(torch.cat([converted.state[name] for name in groups]), table)
    alone = convert_content({"model": {**state, "query_embed.weight": table[:20]}, "args": options})
    assert alone.fit.recipe == "projects/group_detr/configs/conditional_detr_r50_50ep.py"


def test_hybrid_table_is_split_where_the_groups_meet():
    state, options = published("detrex_h_deformable")
    table = state["query_embedding.weight"]
    with pytest.raises(ValueError, match="--num-queries"):
        convert_content({"model": state})
    converted = convert_content({"model": state}, options={"num_queries": options.num_queries_one2one})
    assert torch.equal(converted.state["selection.content.weight"], table[:20])
    assert torch.equal(converted.state["selection.extra_content.weight"], table[20:])
    assert converted.fit.cfg.model.selection.extra_queries == len(table) - 20
    again = convert_content({"model": state}, config=converted.fit.cfg)  # which says how many are of the primary group
    assert again.state.keys() == converted.state.keys()
    assert all(torch.equal(value, converted.state[name]) for name, value in again.state.items())


@pytest.mark.parametrize(
    "name", ["dino_4scale", "dino_5scale", "deformable_plain", "deformable_refine", "deformable_two_stage"]
)
def test_way_back_gives_every_official_name(name):
    state, options = published(name)
    converted = convert_content({"model": state, "args": options})
    official = revert_state_dict(converted.state)
    assert set(official) == set(state)
    assert all(torch.equal(official[key], value) for key, value in state.items())


def test_way_back_at_full_size_with_a_backbone():
    for name in ("dino_r50_5scale", "deformable_detr_r50"):
        if name in layouts():
            state = make_state(load_layout(name))
            official = revert_state_dict(convert_content({"model": state}).state)
            assert {key: value.reshape(-1)[0] for key, value in official.items()} == {
                key: value.reshape(-1)[0] for key, value in state.items()
            }


def test_way_back_of_other_methods_is_refused():
    with pytest.raises(ValueError, match="weights are of deta; the way back exists for dino"):
        revert_state_dict(convert_content(tiny("deta")).state)


def huggingface(state):
    """An official state dict as Hugging Face names it, by their published conversion."""
    renamed = {}
    norms = {"encoder": ("self_attn", "final"), "decoder": ("encoder_attn", "self_attn", "final")}
    for name, value in state.items():
        new = name
        for number, norm in enumerate(norms["encoder" if ".encoder." in name else "decoder"], start=1):
            new = re.sub(rf"(layers\.\d+)\.norm{number}\.", rf"\1.{norm}_layer_norm.", new)
        new = new.replace("linear1", "fc1").replace("linear2", "fc2").replace("cross_attn", "encoder_attn")
        new = new.replace("transformer.", "").replace("query_embed", "query_position_embeddings")
        new = new if re.match(r"(class|bbox)_embed", name) else "model." + new
        if "in_proj" in new:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                renamed[new.replace("in_proj_", f"{part}_proj.")] = rows
        else:
            renamed[new] = value
    return renamed


@pytest.mark.parametrize("name", ["deformable_plain", "deformable_refine", "deformable_two_stage", "deta"])
def test_huggingface_layout_holds_the_same_weights(name):
    state, options = published(name)
    official = convert_content({"model": state, "args": options}).state
    known = {"num_heads": options.nheads, "num_queries": options.num_queries}
    theirs = convert_content(huggingface(state), options=known)
    assert theirs.conversion.family is HUGGINGFACE
    assert set(theirs.state) == set(official)
    assert all(torch.equal(theirs.state[key], value) for key, value in official.items())
    assert theirs.fit.recipe == convert_content({"model": state, "args": options}).fit.recipe


def test_huggingface_writes_shared_heads_once(tmp_path):
    state, options = published("deformable_plain")
    whole = huggingface(state)
    once = {name: value for name, value in whole.items() if not re.match(r"(class|bbox)_embed\.[1-9]", name)}
    assert len(once) < len(whole)
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "deformable_detr", "decoder_attention_heads": options.nheads, "dilation": False})
    )
    converted = convert_content(once, str(tmp_path / "model.safetensors"))
    assert converted.settings["decoder.layers.0.cross_attention.num_heads"] == options.nheads
    assert "serve all layers" in converted.report()
    official = convert_content({"model": state, "args": options}).state
    assert all(torch.equal(converted.state[key], value) for key, value in official.items())


def test_dilation_is_refused(tmp_path):
    state, _ = published("deformable_plain")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deformable_detr", "dilation": True}))
    with pytest.raises(ValueError, match="dilation=True"):
        convert_content(huggingface(state), str(tmp_path / "model.safetensors"))
