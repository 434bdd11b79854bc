"""The code bases whose names are known: see `conversion.names`."""

from querydet.checkpoint.conversion.backbone_names import SWIN, TORCHVISION
from querydet.checkpoint.conversion.mask_families import MASK2FORMER, MASK2FORMER_OLD, with_masks
from querydet.checkpoint.conversion.names import DETREX, DETREX_FFN, FFN, HUGGINGFACE, OFFICIAL, Family, under

_SHARED = (
    ("class_embed.", "heads.class_heads.0."),
    ("bbox_embed.", "heads.box_heads.0."),
    ("input_proj.", "neck.projection."),
    ("transformer.decoder.query_scale.", "decoder.query_scale."),
)
_HEADS = (*_SHARED, ("transformer.decoder.ref_point_head.", "selection.point_head."))
_NORM = ("transformer.decoder.norm.", "decoder.norm.")
_BACKBONE = under("backbone.0.body.", "backbone.", (*TORCHVISION, *SWIN))
_SLOPE = ("activation.", "ffn.activation.")
_ENCODER = under(
    "transformer.encoder.layers.{}.",
    "encoder.layers.{}.",
    (("self_attn.", "attention."), ("norm1.", "norm."), ("norm2.", "ffn.norm."), *FFN, _SLOPE),
)
_AFTER_ATTENTION = (
    ("norm1.", "self_attention_norm."),
    ("norm2.", "cross_attention_norm."),
    ("norm3.", "ffn.norm."),
    *FFN,
    _SLOPE,
)
_CONDITIONAL = under(
    "transformer.decoder.layers.{}.",
    "decoder.layers.{}.",
    (
        ("sa_qcontent_proj.", "self_attention.query_content."),
        ("sa_qpos_proj.", "self_attention.query_position."),
        ("sa_kcontent_proj.", "self_attention.key_content."),
        ("sa_kpos_proj.", "self_attention.key_position."),
        ("sa_v_proj.", "self_attention.value."),
        ("self_attn.out_proj.", "self_attention.output."),
        ("ca_qcontent_proj.", "cross_attention.query_content."),
        ("ca_qpos_proj.", "cross_attention.query_position."),
        ("ca_kcontent_proj.", "cross_attention.key_content."),
        ("ca_kpos_proj.", "cross_attention.key_position."),
        ("ca_v_proj.", "cross_attention.value."),
        ("ca_qpos_sine_proj.", "cross_attention.query_sine."),
        ("cross_attn.out_proj.", "cross_attention.output."),
        *_AFTER_ATTENTION,
    ),
)

_BOXES = (
    ("transformer.decoder.ref_point_head.", "decoder.query_position.mlp."),
    ("transformer.decoder.ref_anchor_head.", "decoder.size_head."),
    ("refpoint_embed.", "selection.anchors."),
    ("label_enc.", "denoising.label_embed."),
)

# Atten4Vis/ConditionalDETR and its branch GroupDETR; norms are numbered in the order of execution
OFFICIAL_DENSE = Family(
    name="official, dense",
    marks=("transformer.encoder.layers.{}.self_attn.out_proj.", "transformer.decoder.layers.{}.sa_qcontent_proj."),
    rules=(*_ENCODER, *_CONDITIONAL, _NORM, *_HEADS, *_BACKBONE),
    levels=None,
    heads=(),
    tables=("query_embed.weight",),
)

# IDEA-Research/DAB-DETR, and the dense model of IDEA-Research/DN-DETR, which adds label_enc
OFFICIAL_DAB = Family(
    name="official, DAB",
    marks=(
        "transformer.encoder.query_scale.",
        "transformer.decoder.ref_anchor_head.",
        "transformer.decoder.layers.{}.sa_qcontent_proj.",
        "refpoint_embed.",
    ),
    rules=(
        *_ENCODER,
        *_CONDITIONAL,
        _NORM,
        ("transformer.encoder.query_scale.", "encoder.query_scale."),
        *_BOXES,
        ("transformer.patterns.", "selection.content."),
        *_SHARED,
        ("transformer.decoder.bbox_embed.", "heads.box_heads.0."),  # a second copy
        *_BACKBONE,
    ),
    levels=None,
    heads=(),
)

# IDEA-Research/DN-DETR, its model with a deformable encoder and standard attention to several levels in the decoder
OFFICIAL_LEVELWISE = Family(
    name="official, DN-DETR with a deformable encoder",
    marks=("transformer.decoder.layers.{}.lvl_attn.", "transformer.decoder.ref_anchor_head.", "input_proj.{}.0."),
    rules=(
        *_ENCODER,
        *under(
            "transformer.decoder.layers.{}.",
            "decoder.layers.{}.",
            (("lvl_attn.", "level_gate."), ("ca_out_v_proj.", "cross_attention.output.")),
        ),
        *_CONDITIONAL,
        _NORM,
        ("transformer.level_embed", "neck.level_embed"),
        *_BOXES,
        ("transformer.patterns.", "selection.patterns."),
        *(rule for rule in _SHARED if rule[0] != "input_proj."),
        ("transformer.decoder.bbox_embed.", "heads.box_heads.0."),  # a second copy
        *_BACKBONE,
    ),
    levels="input_proj.",
    heads=(),
)

# facebookresearch/detr
OFFICIAL_DETR = Family(
    name="official, DETR",
    marks=(
        "transformer.encoder.layers.{}.self_attn.",
        "transformer.decoder.layers.{}.multihead_attn.",
        "query_embed.",
    ),
    rules=(
        *_ENCODER,
        *under(
            "transformer.decoder.layers.{}.",
            "decoder.layers.{}.",
            (("self_attn.", "self_attention."), ("multihead_attn.", "cross_attention."), *_AFTER_ATTENTION),
        ),
        _NORM,
        *_SHARED[:3],
        *_BACKBONE,
    ),
    levels=None,
    heads=(),
    tables=("query_embed.weight",),
)

_PARTS = (
    ("query_content_proj.", "query_content."),
    ("query_pos_proj.", "query_position."),
    ("key_content_proj.", "key_content."),
    ("key_pos_proj.", "key_position."),
    ("value_proj.", "value."),
    ("out_proj.", "output."),
    ("query_pos_sine_proj.", "query_sine."),
)

# IDEA-Research/detrex, projects conditional_detr and group_detr
DETREX_DENSE = Family(
    name="detrex, dense",
    marks=(
        "transformer.encoder.layers.{}.attentions.0.attn.",
        "transformer.decoder.layers.{}.attentions.0.query_content_proj.",
    ),
    rules=(
        *under(
            "transformer.encoder.layers.{}.",
            "encoder.layers.{}.",
            (("attentions.0.attn.", "attention."), ("norms.0.", "norm."), ("norms.1.", "ffn.norm."), *DETREX_FFN),
        ),
        *under(
            "transformer.decoder.layers.{}.",
            "decoder.layers.{}.",
            (
                *under("attentions.0.", "self_attention.", _PARTS),
                *under("attentions.1.", "cross_attention.", _PARTS),
                ("norms.0.", "self_attention_norm."),
                ("norms.1.", "cross_attention_norm."),
                ("norms.2.", "ffn.norm."),
                *DETREX_FFN,
            ),
        ),
        ("transformer.decoder.post_norm_layer.", "decoder.norm."),
        *_HEADS,
        ("backbone.", "backbone."),
    ),
    levels=None,
    heads=(),
    tables=("query_embed.weight",),
)

OFFICIAL_MASKS = with_masks(OFFICIAL)  # Atten4Vis/MS-DETR, models/segmentation.py
OFFICIAL_DETR_MASKS = with_masks(OFFICIAL_DETR)  # facebookresearch/detr, models/segmentation.py

FAMILIES = (
    OFFICIAL,
    DETREX,
    HUGGINGFACE,
    OFFICIAL_LEVELWISE,
    OFFICIAL_DAB,
    OFFICIAL_DENSE,
    DETREX_DENSE,
    OFFICIAL_DETR,
    OFFICIAL_MASKS,
    OFFICIAL_DETR_MASKS,
    MASK2FORMER,
    MASK2FORMER_OLD,
)
