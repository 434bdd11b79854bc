"""The code bases whose names are known: see `querydet.checkpoint.names`."""

from querydet.checkpoint.backbone_names import SWIN, TORCHVISION
from querydet.checkpoint.names import DETREX, DETREX_FFN, FFN, HUGGINGFACE, OFFICIAL, Family, under

_HEADS = (
    ("class_embed.", "heads.class_heads.0."),
    ("bbox_embed.", "heads.box_heads.0."),
    ("input_proj.", "neck.projection."),
    ("transformer.decoder.ref_point_head.", "selection.point_head."),
    ("transformer.decoder.query_scale.", "decoder.query_scale."),
)

# Atten4Vis/ConditionalDETR and its branch GroupDETR; here the norms are numbered as they run
OFFICIAL_DENSE = Family(
    name="official, dense",
    marks=("transformer.encoder.layers.{}.self_attn.out_proj.", "transformer.decoder.layers.{}.sa_qcontent_proj."),
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
                ("norm1.", "self_attention_norm."),
                ("norm2.", "cross_attention_norm."),
                ("norm3.", "ffn.norm."),
                *FFN,
            ),
        ),
        ("transformer.decoder.norm.", "decoder.norm."),
        *_HEADS,
        *under("backbone.0.body.", "backbone.", (*TORCHVISION, *SWIN)),
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

FAMILIES = (OFFICIAL, DETREX, HUGGINGFACE, OFFICIAL_DENSE, DETREX_DENSE)
