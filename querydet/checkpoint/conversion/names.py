"""Names of parameters in the published code bases, and ours for the same tensors.

A family is a code base with its naming scheme. Rules are prefixes in which `{}` stands for a number, and are applied in
both directions. Sources: the repositories named at each family. The norms of official decoder layers are not numbered
in the order of execution: norm2 follows the self-attention, norm1 the cross-attention.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from querydet.checkpoint.conversion.backbone_names import HF_RESNET, HF_SWIN, SWIN, TORCHVISION, Rules

FFN: Rules = (("linear1.", "ffn.linear1."), ("linear2.", "ffn.linear2."))
_ONE_TO_MANY: Rules = (  # MS-DETR's block for its one-to-many predictions
    ("linear3.", "read_out.ffn.linear1."),
    ("linear4.", "read_out.ffn.linear2."),
    ("norm4.", "read_out.ffn.norm."),
)
DETREX_FFN: Rules = (("ffns.0.layers.0.0.", "ffn.linear1."), ("ffns.0.layers.1.", "ffn.linear2."))
_HF_FFN: Rules = (("fc1.", "ffn.linear1."), ("fc2.", "ffn.linear2."), ("final_layer_norm.", "ffn.norm."))
_SPLIT = tuple(  # Hugging Face stores the three parts of one matrix separately
    (f"self_attn.{part}_proj.{kind}", f"self_attention.in_proj_{kind}#{index}")
    for index, part in enumerate("qkv")
    for kind in ("weight", "bias")
)
_TRANSFORMER: Rules = (
    ("enc_output.", "selection.proposals.linear."),
    ("enc_output_norm.", "selection.proposals.norm."),
    ("enc_out_class_embed.", "selection.proposals.class_head."),
    ("enc_out_bbox_embed.", "selection.proposals.box_head."),
    ("pos_trans.", "selection.box_embedding.linear."),
    ("pos_trans_norm.", "selection.box_embedding.norm."),
    ("pix_trans.", "selection.content.linear."),
    ("pix_trans_norm.", "selection.content.norm."),
    ("tgt_embed.", "selection.content."),
    ("reference_points.", "selection.reference_points."),
    ("decoder.norm.", "decoder.norm."),
    ("decoder.ref_point_head.", "decoder.query_position.mlp."),
    ("decoder.query_scale.", "decoder.query_position.scale."),
)
_TABLES: Rules = (
    ("tgt_embed.", "selection.content."),
    ("refpoint_embed.", "selection.anchors."),
    ("label_enc.", "denoising.label_embed."),
)


def under(theirs: str, ours: str, rules: Iterable[tuple[str, str]]) -> Rules:
    """Prepend prefixes to both sides of rules."""
    return tuple((theirs + their_name, ours + our_name) for their_name, our_name in rules)


@dataclass(frozen=True)
class Sizes:
    """Numbers on which the names of levels and heads depend.

    Args:
        num_maps: backbone maps; later levels are extra projections.
        num_layers: decoder layers; heads with this index belong to the encoder.
        two_stage: whether a query table holds content only, not positions and content.
        dino: whether the heads of the encoder and the query table have separate names, as in the official DINO.
    """

    num_maps: int
    num_layers: int
    two_stage: bool
    dino: bool = False


@dataclass(frozen=True)
class Family:
    """Naming scheme of a code base.

    Args:
        name: name of the code base.
        marks: prefixes that occur in its files and in no other family's.
        rules: their prefix and ours; the first match is used. `{}` is a number. `#0` and so on in ours are parts of one
            tensor, which are concatenated in this order.
        levels: their prefix of the neck's convolution and norm of a level; None: `rules` handle them.
        heads: their prefixes of class and box heads, the main ones first; the others are copies of the same tensors.
        tables: their names of the query table.
        coarse_first: whether their levels are counted from the coarsest; ours are counted from the finest.
    """

    name: str
    marks: tuple[str, ...]
    rules: Rules
    levels: str | None
    heads: tuple[tuple[str, str], ...]
    tables: tuple[str, ...] = ()
    coarse_first: bool = False

    @cached_property
    def compiled(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """Compile the rules to patterns, theirs to ours."""
        return tuple((compile_name(theirs), ours) for theirs, ours in self.rules)

    def our_name(self, name: str, sizes: Sizes) -> str | None:
        """Translate one of their parameter names to ours; None if no rule matches."""
        level = self._level(name, sizes)
        if level is not None:
            return level
        for prefix, ours in self.heads:
            head = re.fullmatch(re.escape(prefix) + r"(\d+)\.(.+)", name)
            if head:
                return _head(ours, int(head[1]), head[2], sizes)
        if name in self.tables:
            return "selection.content.weight" if sizes.two_stage else "selection.embedding.weight"
        for pattern, ours in self.compiled:
            match = pattern.match(name)
            if match:
                target, _, part = ours.format(*match.groups()).partition("#")
                rest = name[match.end() :]
                return f"{target}{rest}#{part}" if part else target + rest
        return None

    def their_name(self, name: str, sizes: Sizes) -> str | None:
        """Translate one of our parameter names to their main one, the inverse of `our_name`; None if there is none."""
        level = re.fullmatch(r"neck\.(extra_)?projections\.(\d+)\.(conv|norm)\.(.+)", name)
        if level and self.levels is not None:
            index = self._swap(int(level[2]) + (sizes.num_maps if level[1] else 0), sizes)
            return f"{self.levels}{index}.{('conv', 'norm').index(level[3])}.{level[4]}"
        many = re.fullmatch(r"heads\.one_to_many_heads\.(class)\.(\d+)\.(.+)", name)
        head = re.fullmatch(r"heads\.(class|box)_heads\.(\d+)\.(.+)", name)
        proposal = re.fullmatch(r"selection\.proposals\.(class|box)_head\.(.+)", name)
        for theirs, ours in self.heads:
            if many and ours == f"one_to_many_{many[1]}":
                return f"{theirs}{many[2]}.{many[3]}"
            if head and ours == head[1]:
                return f"{theirs}{head[2]}.{head[3]}"
            if proposal and ours == proposal[1] and not sizes.dino:
                return f"{theirs}{sizes.num_layers}.{proposal[2]}"
        if (
            self.tables
            and not sizes.dino
            and name == f"selection.{'content' if sizes.two_stage else 'embedding'}.weight"
        ):
            return self.tables[0]
        for theirs, ours in self.rules:
            match = None if "#" in ours else compile_name(ours).match(name)
            if match:
                return theirs.format(*match.groups()) + name[match.end() :]
        return None

    def _level(self, name: str, sizes: Sizes) -> str | None:
        if self.levels is None:
            return None
        level = re.fullmatch(re.escape(self.levels) + r"(\d+)\.([01])\.(weight|bias)", name)
        if level is None:
            return None
        index, module = self._swap(int(level[1]), sizes), ("conv", "norm")[int(level[2])]
        extra = index - sizes.num_maps
        target = f"extra_projections.{extra}" if extra >= 0 else f"projections.{index}"
        return f"neck.{target}.{module}.{level[3]}"

    def _swap(self, index: int, sizes: Sizes) -> int:
        return sizes.num_maps - 1 - index if self.coarse_first and index < sizes.num_maps else index


@cache
def compile_name(template: str) -> re.Pattern[str]:
    """Compile a template; one that ends in a dot is a prefix, any other one a full name."""
    end = "" if template.endswith(".") else "$"
    return re.compile(re.escape(template).replace(r"\{\}", r"(\d+)") + end)


def _head(kind: str, index: int, rest: str, sizes: Sizes) -> str:
    if kind == "one_to_many_class":
        return f"heads.one_to_many_heads.class.{index}.{rest}"
    if index == sizes.num_layers and sizes.two_stage:
        return f"selection.proposals.{kind}_head.{rest}"
    return f"heads.{kind}_heads.{index}.{rest}"


_OFFICIAL_HEADS = (
    ("class_embed.", "class"),
    ("bbox_embed.", "box"),
    ("transformer.decoder.class_embed.", "class"),
    ("transformer.decoder.bbox_embed.", "box"),
    ("class_embed_o2m.", "one_to_many_class"),
    ("bbox_embed_o2m.", "box"),
)

# fundamentalvision/Deformable-DETR, IDEA-Research/DINO and DN-DETR, jozhang97/DETA, Atten4Vis/MS-DETR
OFFICIAL = Family(
    name="official",
    marks=("transformer.encoder.layers.{}.self_attn.", "transformer.decoder.layers.{}.cross_attn.", "input_proj.{}.0."),
    rules=(
        *under(
            "transformer.encoder.layers.{}.",
            "encoder.layers.{}.",
            (("self_attn.", "attention."), ("norm1.", "norm."), ("norm2.", "ffn.norm."), *FFN),
        ),
        *under(
            "transformer.decoder.layers.{}.",
            "decoder.layers.{}.",
            (
                ("self_attn.", "self_attention."),
                ("cross_attn.", "cross_attention."),
                ("norm2.", "self_attention_norm."),
                ("norm1.", "cross_attention_norm."),
                ("norm3.", "ffn.norm."),
                *FFN,
                *_ONE_TO_MANY,
            ),
        ),
        ("transformer.level_embed", "neck.level_embed"),
        *under("transformer.", "", _TRANSFORMER),
        *_TABLES,
        *under("backbone.0.body.", "backbone.", TORCHVISION),
        *under("backbone.0.body.", "backbone.", SWIN),
        *under("backbone.0.", "backbone.", SWIN),
    ),
    levels="input_proj.",
    heads=_OFFICIAL_HEADS,
    tables=("query_embed.weight",),
)

# IDEA-Research/detrex, whose ResNet and Swin are Detectron2's
DETREX = Family(
    name="detrex",
    marks=("neck.convs.{}.", "transformer.encoder.layers.{}.attentions.0.", "transformer.decoder.layers.{}.ffns.0."),
    rules=(
        *under(
            "transformer.encoder.layers.{}.",
            "encoder.layers.{}.",
            (("attentions.0.", "attention."), ("norms.0.", "norm."), ("norms.1.", "ffn.norm."), *DETREX_FFN),
        ),
        *under(
            "transformer.decoder.layers.{}.",
            "decoder.layers.{}.",
            (
                ("attentions.0.attn.", "self_attention."),
                ("attentions.1.", "cross_attention."),
                ("norms.0.", "self_attention_norm."),
                ("norms.1.", "cross_attention_norm."),
                ("norms.2.", "ffn.norm."),
                *DETREX_FFN,
            ),
        ),
        ("neck.convs.", "neck.projections."),
        ("neck.extra_convs.", "neck.extra_projections."),
        ("transformer.level_embeds", "neck.level_embed"),
        *under("transformer.", "", (rule for rule in _TRANSFORMER if "enc_out_" not in rule[0])),
        *_TABLES,
        ("denoising_generator.label_encoder.", "denoising.label_embed."),
        ("backbone.", "backbone."),
    ),
    levels=None,
    heads=_OFFICIAL_HEADS[:4],
    tables=("query_embedding.weight", "query_embed.weight"),
)

# huggingface/transformers, models deformable_detr and deta
HUGGINGFACE = Family(
    name="Hugging Face",
    marks=("model.encoder.layers.{}.self_attn.", "model.decoder.layers.{}.encoder_attn.", "model.input_proj.{}.0."),
    rules=(
        *under(
            "model.encoder.layers.{}.",
            "encoder.layers.{}.",
            (("self_attn.", "attention."), ("self_attn_layer_norm.", "norm."), *_HF_FFN),
        ),
        *under(
            "model.decoder.layers.{}.",
            "decoder.layers.{}.",
            (
                *_SPLIT,
                ("self_attn.out_proj.", "self_attention.out_proj."),
                ("encoder_attn.", "cross_attention."),
                ("self_attn_layer_norm.", "self_attention_norm."),
                ("encoder_attn_layer_norm.", "cross_attention_norm."),
                *_HF_FFN,
            ),
        ),
        ("model.level_embed", "neck.level_embed"),
        *under("model.", "", (rule for rule in _TRANSFORMER if "enc_out_" not in rule[0])),
        *under("model.backbone.conv_encoder.model.", "backbone.", (*TORCHVISION, *HF_RESNET, *HF_SWIN)),
        *under("model.backbone.model.", "backbone.", (*HF_RESNET, *HF_SWIN, *TORCHVISION)),
    ),
    levels="model.input_proj.",
    heads=(
        ("class_embed.", "class"),
        ("bbox_embed.", "box"),
        ("model.decoder.class_embed.", "class"),
        ("model.decoder.bbox_embed.", "box"),
    ),
    tables=("model.query_position_embeddings.weight",),
)


def matches(family: Family, names: Iterable[str]) -> Mapping[str, bool]:
    """Return for each mark of a family whether a name begins with it."""
    names = list(names)
    return {mark: any(compile_name(mark).match(name) for name in names) for mark in family.marks}
