"""Parameter names of the published implementations, and ours for the same tensors."""

import re

from torch import Tensor

_ENCODER = (
    (r"self_attn\.|attentions\.0\.", "attention."),
    (r"norm1\.|norms\.0\.", "norm."),
    (r"norm2\.|norms\.1\.", "ffn.norm."),
)
_DECODER = (
    (r"self_attn\.|attentions\.0\.attn\.", "self_attention."),
    (r"cross_attn\.|attentions\.1\.", "cross_attention."),
    # MS-DETR's auxiliary feed-forward block, which only its one-to-many predictions pass
    (r"linear3\.", "read_out.ffn.linear1."),
    (r"linear4\.", "read_out.ffn.linear2."),
    (r"norm4\.", "read_out.ffn.norm."),
    # the official code numbers its norms by another order than it applies them in
    (r"norm2\.|norms\.0\.", "self_attention_norm."),
    (r"norm1\.|norms\.1\.", "cross_attention_norm."),
    (r"norm3\.|norms\.2\.", "ffn.norm."),
)
_FFN = ((r"ffns\.0\.layers\.0\.0\.|linear1\.", "ffn.linear1."), (r"ffns\.0\.layers\.1\.|linear2\.", "ffn.linear2."))
_PREFIXES = (
    (r"transformer\.level_embeds?$", "neck.level_embed"),
    (r"transformer\.decoder\.norm\.", "decoder.norm."),
    (r"transformer\.decoder\.ref_point_head\.", "decoder.query_position.mlp."),
    (r"transformer\.decoder\.query_scale\.", "decoder.query_position.scale."),
    (r"(transformer\.)?tgt_embed\.", "selection.content."),
    (r"refpoint_embed\.", "selection.anchors."),
    (r"transformer\.reference_points\.", "selection.reference_points."),
    (r"transformer\.enc_output\.", "selection.proposals.linear."),
    (r"transformer\.enc_output_norm\.", "selection.proposals.norm."),
    (r"transformer\.enc_out_class_embed\.", "selection.proposals.class_head."),
    (r"transformer\.enc_out_bbox_embed\.", "selection.proposals.box_head."),
    (r"transformer\.pos_trans\.", "selection.box_embedding.linear."),
    (r"transformer\.pos_trans_norm\.", "selection.box_embedding.norm."),
    (r"transformer\.pix_trans\.", "selection.content.linear."),
    (r"transformer\.pix_trans_norm\.", "selection.content.norm."),
    (r"label_enc\.", "denoising.label_embed."),
    (r"neck\.convs\.", "neck.projections."),
    (r"neck\.extra_convs\.", "neck.extra_projections."),
)
_ALIAS = re.compile(r"transformer\.decoder\.(class|bbox)_embed\.|bbox_embed_o2m\.")


def our_name(name: str, num_maps: int, num_layers: int, two_stage: bool) -> str | None:
    """Our name of a published parameter; None when it is stored a second time under another name.

    Args:
        name: official or detrex key.
        num_maps: backbone maps: later levels are extra projections.
        num_layers: decoder layers D: prediction heads number D belong to the encoder.
        two_stage: whether a query table holds contents alone, or positions and contents.
    """
    if _ALIAS.match(name):
        return None
    layer = re.match(r"transformer\.(encoder|decoder)\.layers\.(\d+)\.(.*)", name)
    if layer:
        part, number, rest = layer.groups()
        return f"{part}.layers.{number}." + _replace(rest, (*(_ENCODER if part == "encoder" else _DECODER), *_FFN))
    level = re.match(r"input_proj\.(\d+)\.(\d)\.(.*)", name)
    if level:
        number, module = int(level[1]), ("conv", "norm")[int(level[2])]
        where = f"projections.{number}" if number < num_maps else f"extra_projections.{number - num_maps}"
        return f"neck.{where}.{module}.{level[3]}"
    one_to_many = re.match(r"class_embed_o2m\.(\d+\..*)", name)
    if one_to_many:
        return f"heads.one_to_many_heads.class.{one_to_many[1]}"
    head = re.match(r"(class|bbox)_embed\.(\d+)\.(.*)", name)
    if head:
        kind = "class" if head[1] == "class" else "box"
        encoder = int(head[2]) == num_layers
        return (f"selection.proposals.{kind}_head." if encoder else f"heads.{kind}_heads.{head[2]}.") + head[3]
    if name in ("query_embed.weight", "query_embedding.weight"):
        return "selection.content.weight" if two_stage else "selection.embedding.weight"
    return _replace(name, _PREFIXES)


def convert_state(state: dict[str, Tensor], num_maps: int, num_layers: int) -> dict[str, Tensor]:
    """Rename a published state dict; heads shared by all layers are stored once."""
    two_stage = any("enc_output" in name for name in state)
    converted = {our_name(name, num_maps, num_layers, two_stage): value for name, value in state.items()}
    converted.pop(None, None)
    shared = all(_same_heads(state, kind, num_layers) for kind in ("class", "bbox"))
    return {
        name: value
        for name, value in converted.items()
        if not (shared and re.match(r"heads\.(class|box)_heads\.[1-9]", str(name)))
    }


def _same_heads(state: dict[str, Tensor], kind: str, num_layers: int) -> bool:
    first = {key.split(".", 2)[2]: value for key, value in state.items() if key.startswith(f"{kind}_embed.0.")}
    return all(
        bool((state[f"{kind}_embed.{layer}.{rest}"] == value).all())
        for layer in range(1, num_layers)
        for rest, value in first.items()
    )


def _replace(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in rules:
        renamed, count = re.subn("^(?:" + pattern + ")", ours, name)
        if count:
            return renamed
    raise KeyError(f"no rule for the published parameter {name!r}")
