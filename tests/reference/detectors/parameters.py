"""Names and shapes of all parameters, as in the published state dicts, and random values for them."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Options = Mapping[str, Any]


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _mlp(name: str, *widths: int) -> Shapes:
    found: Shapes = {}
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        found |= _linear(f"{name}.layers.{index}", outputs, inputs)
    return found


def _sampling(name: str, width: int, heads: int, levels: int, points: int) -> Shapes:
    return {
        **_linear(f"{name}.sampling_offsets", heads * levels * points * 2, width),
        **_linear(f"{name}.attention_weights", heads * levels * points, width),
        **_linear(f"{name}.value_proj", width, width),
        **_linear(f"{name}.output_proj", width, width),
    }


def _standard(name: str, width: int) -> Shapes:
    projections = {f"{name}.in_proj_weight": (3 * width, width), f"{name}.in_proj_bias": (3 * width,)}
    return {**projections, **_linear(f"{name}.out_proj", width, width)}


def _ffn(layer: str, width: int, hidden: int, first: int = 1) -> Shapes:
    return {
        **_linear(f"{layer}.linear{first}", hidden, width),
        **_linear(f"{layer}.linear{first + 1}", width, hidden),
    }


def neck(options: Options, channels: list[int]) -> Shapes:
    """Projections of the maps, and a vector of each level."""
    width, levels = options["hidden_dim"], options["num_feature_levels"]
    found: Shapes = {"transformer.level_embed": (levels, width)}
    for level in range(levels):
        inputs = channels[level] if level < len(channels) else channels[-1] if level == len(channels) else width
        kernel = 1 if level < len(channels) else 3
        found[f"input_proj.{level}.0.weight"] = (width, inputs, kernel, kernel)
        found[f"input_proj.{level}.0.bias"] = (width,)
        found |= _norm(f"input_proj.{level}.1", width)
    return found


def layers(options: Options, extra_ffn: bool = False) -> Shapes:
    """The layers of a deformable encoder and decoder."""
    width, heads, levels = options["hidden_dim"], options["nheads"], options["num_feature_levels"]
    hidden = options["dim_feedforward"]
    found: Shapes = {}
    for index in range(options["enc_layers"]):
        layer = f"transformer.encoder.layers.{index}"
        found |= _sampling(f"{layer}.self_attn", width, heads, levels, options["enc_n_points"])
        found |= _ffn(layer, width, hidden)
        found |= {**_norm(f"{layer}.norm1", width), **_norm(f"{layer}.norm2", width)}
    for index in range(options["dec_layers"]):
        layer = f"transformer.decoder.layers.{index}"
        found |= _sampling(f"{layer}.cross_attn", width, heads, levels, options["dec_n_points"])
        found |= {**_standard(f"{layer}.self_attn", width), **_ffn(layer, width, hidden)}
        for number in range(1, 5 if extra_ffn else 4):
            found |= _norm(f"{layer}.norm{number}", width)
        if extra_ffn:
            found |= _ffn(layer, width, hidden, first=3)
    return found


def heads(options: Options, count: int, class_name: str = "class_embed", box_name: str = "bbox_embed") -> Shapes:
    """So many class and box heads."""
    width = options["hidden_dim"]
    found: Shapes = {}
    for index in range(count):
        found |= _linear(f"{class_name}.{index}", options["num_classes"], width)
        found |= _mlp(f"{box_name}.{index}", width, width, width, 4)
    return found


def proposals(options: Options) -> Shapes:
    """Of the selection from the encoder's output."""
    width = options["hidden_dim"]
    return {**_linear("transformer.enc_output", width, width), **_norm("transformer.enc_output_norm", width)}


def position_of_proposals(options: Options) -> Shapes:
    """Of queries whose position is made from boxes, once."""
    width = 2 * options["hidden_dim"]
    return {**_linear("transformer.pos_trans", width, width), **_norm("transformer.pos_trans_norm", width)}


def deformable(options: Options, channels: list[int], *, pixels: bool = False, own_classes: bool = False) -> Shapes:
    """Deformable DETR, MS-DETR and DETA."""
    width, count = options["hidden_dim"], options["dec_layers"]
    queries = options.get("num_queries", 0)
    found = {**neck(options, channels), **layers(options, extra_ffn=options.get("use_aux_ffn", False))}
    if not options["two_stage"]:
        found["query_embed.weight"] = (queries, 2 * width)
        return {**found, **_linear("transformer.reference_points", 2, width), **heads(options, count)}
    found |= {**heads(options, count + 1), **proposals(options), **position_of_proposals(options)}
    if options.get("mixed_selection"):
        found["query_embed.weight"] = (queries, width)
    if pixels:
        found |= {**_linear("transformer.pix_trans", width, width), **_norm("transformer.pix_trans_norm", width)}
    if own_classes:
        for index in range(count):
            found |= _linear(f"class_embed_o2m.{index}", options["num_classes"], width)
    return found


def anchors(options: Options, channels: list[int]) -> Shapes:
    """DINO and DN-DETR."""
    width, count, queries = options["hidden_dim"], options["dec_layers"], options["num_queries"]
    found = {**neck(options, channels), **layers(options), **heads(options, count)}
    found |= _mlp("transformer.decoder.ref_point_head", 2 * width, width, width)
    if "scalar" in options:
        found |= _mlp("transformer.decoder.query_scale", width, width, width)
        found["label_enc.weight"] = (options["num_classes"] + 1, width - 1)
        return {**found, "tgt_embed.weight": (queries, width - 1), "refpoint_embed.weight": (queries, 4)}
    found |= {**_norm("transformer.decoder.norm", width), **proposals(options)}
    found |= _linear("transformer.enc_out_class_embed", options["num_classes"], width)
    found |= _mlp("transformer.enc_out_bbox_embed", width, width, width, 4)
    found["label_enc.weight"] = (options["dn_labelbook_size"] + 1, width)
    if options["embed_init_tgt"]:
        found["transformer.tgt_embed.weight"] = (queries, width)
    return found


def conditional(options: Options, channels: list[int]) -> Shapes:
    """Group DETR on Conditional DETR."""
    width, hidden = options["hidden_dim"], options["dim_feedforward"]
    found: Shapes = {"query_embed.weight": (options["num_queries"] * options["group_detr"], width)}
    found |= {"input_proj.weight": (width, channels[-1], 1, 1), "input_proj.bias": (width,)}
    for index in range(options["enc_layers"]):
        layer = f"transformer.encoder.layers.{index}"
        found |= {**_standard(f"{layer}.self_attn", width), **_ffn(layer, width, hidden)}
        found |= {**_norm(f"{layer}.norm1", width), **_norm(f"{layer}.norm2", width)}
    for index in range(options["dec_layers"]):
        layer = f"transformer.decoder.layers.{index}"
        parts = ["sa_qcontent", "sa_qpos", "sa_kcontent", "sa_kpos", "sa_v"]
        parts += ["ca_qcontent", "ca_kcontent", "ca_kpos", "ca_v", "ca_qpos_sine", *(["ca_qpos"] if not index else [])]
        for part in (*(f"{part}_proj" for part in parts), "self_attn.out_proj", "cross_attn.out_proj"):
            found |= _linear(f"{layer}.{part}", width, width)
        found |= _ffn(layer, width, hidden)
        for number in (1, 2, 3):
            found |= _norm(f"{layer}.norm{number}", width)
    found |= _norm("transformer.decoder.norm", width)
    found |= _mlp("transformer.decoder.query_scale", width, width, width)
    found |= _mlp("transformer.decoder.ref_point_head", width, width, 2)
    found |= _linear("class_embed", options["num_classes"], width)
    return {**found, **_mlp("bbox_embed", width, width, width, 4)}


def levelwise(options: Options, channels: list[int]) -> Shapes:
    """DN-DETR with a deformable encoder and attention to one level after the other."""
    width, levels, hidden = options["hidden_dim"], options["num_feature_levels"], options["dim_feedforward"]
    found = layers({**options, "dec_layers": 0, "dec_n_points": 1})
    for index in range(options["dec_layers"]):
        layer = f"transformer.decoder.layers.{index}"
        parts = ["sa_qcontent", "sa_qpos", "sa_kcontent", "sa_kpos", "sa_v"]
        parts += ["ca_qcontent", "ca_kcontent", "ca_kpos", "ca_v", "ca_qpos_sine", *(["ca_qpos"] if not index else [])]
        for part in (*(f"{part}_proj" for part in [*parts, "ca_out_v"]), "self_attn.out_proj"):
            found |= _linear(f"{layer}.{part}", width, width)
        found |= {**_linear(f"{layer}.lvl_attn", levels, width), **_ffn(layer, width, hidden)}
        for number in (1, 2, 3):
            found |= _norm(f"{layer}.norm{number}", width)
    if options["transformer_activation"] == "prelu":
        names = {name.rsplit(".", 2)[0] for name in found if name.endswith("linear1.weight")}
        found |= {f"{name}.activation.weight": (1,) for name in sorted(names)}
    found |= {**neck(options, channels), **_norm("transformer.decoder.norm", width)}
    found |= _mlp("transformer.decoder.query_scale", width, width, width)
    found |= _mlp("transformer.decoder.ref_point_head", 2 * width, width, width)
    found |= _mlp("transformer.decoder.ref_anchor_head", width, width, 2)
    if options["num_patterns"]:
        found["transformer.patterns.weight"] = (options["num_patterns"], width)
    found["label_enc.weight"] = (options["num_classes"] + 1, width - 1)
    found["refpoint_embed.weight"] = (options["num_queries"], 4)
    found |= _linear("class_embed", options["num_classes"], width)
    return {**found, **_mlp("bbox_embed", width, width, width, 4)}


EMBEDDINGS = ("query_embed", "tgt_embed", "refpoint_embed", "label_enc", "patterns")


def random_values(shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """Values of a spread that trained weights could have; nothing is as it is initialised."""
    values = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        part = name.split(".")[-2] if "." in name else ""
        if "norm" in part or (len(shape) == 1 and name.endswith("weight")):
            values[name] = 0.2 * noise + (1.0 if name.endswith("weight") else 0.0)
        elif part in EMBEDDINGS or "level_embed" in name:
            values[name] = noise
        elif name.endswith("weight"):
            values[name] = noise / math.sqrt(math.prod(shape[1:]))
        else:
            values[name] = (1.0 if part == "sampling_offsets" else 0.3) * noise
    return values
