"""Names of the published code bases that predict masks; see `conversion.names`."""

from querydet.checkpoint.conversion.names import FFN, Family, Rules, under

DETECTOR = "detr."  # before every name of the detector that a mask head is put on
_HEAD = "masks.head."
_STAGES = ("coarse_stages.0.", "coarse_stages.1.", "fine_stages.0.", "fine_stages.1.", "fine_stages.2.")
# facebookresearch/detr, MHAttentionMap and MaskHeadSmallConv; Atten4Vis/MS-DETR adds seg_input_proj
MASK_HEAD: Rules = (
    ("bbox_attention.q_linear.", f"{_HEAD}attention.query."),
    ("bbox_attention.k_linear.", f"{_HEAD}attention.key."),
    *(
        rule
        for number, stage in enumerate(_STAGES, start=1)
        for rule in (
            (f"mask_head.lay{number}.", f"{_HEAD}{stage}conv."),
            (f"mask_head.gn{number}.", f"{_HEAD}{stage}norm."),
        )
    ),
    *((f"mask_head.adapter{number + 1}.", f"{_HEAD}adapters.{number}.") for number in range(3)),
    ("mask_head.out_lay.", f"{_HEAD}output."),
    ("seg_input_proj.{}.", f"{_HEAD}halvings.{{}}."),
)


def with_masks(family: Family) -> Family:
    """Return the names of a detector with the mask head of DETR."""
    return Family(
        name=f"{family.name}, with masks",
        marks=("bbox_attention.", "mask_head.", *(DETECTOR + mark for mark in family.marks)),
        rules=(*MASK_HEAD, *under(DETECTOR, "", family.rules)),
        levels=None if family.levels is None else DETECTOR + family.levels,
        heads=tuple((DETECTOR + theirs, ours) for theirs, ours in family.heads),
        tables=tuple(DETECTOR + table for table in family.tables),
    )


_PIXEL_DECODER = (
    ("transformer.level_embed", "neck.level_embed"),
    *under(
        "transformer.encoder.layers.{}.",
        "encoder.layers.{}.",
        (("self_attn.", "attention."), ("norm1.", "norm."), ("norm2.", "ffn.norm."), *FFN),
    ),
    ("adapter_1.norm.", f"{_HEAD}lateral_norm."),
    ("adapter_1.", f"{_HEAD}lateral."),
    ("layer_1.norm.", f"{_HEAD}output_norm."),
    ("layer_1.", f"{_HEAD}output."),
    ("mask_features.", f"{_HEAD}pixel_embed."),
)
_PREDICTOR = (
    ("query_feat.", "selection.content."),
    ("static_query.", "selection.content."),  # the name before the release
    ("query_embed.", "selection.position."),
    ("level_embed.", "decoder.level_embed."),
    ("decoder_norm.", "decoder.norm."),
    ("class_embed.", "heads.class_head."),
    ("mask_embed.", f"{_HEAD}query_embed."),
    *(
        rule
        for kind, module in (("cross", "multihead_attn"), ("self", "self_attn"))
        for rule in under(
            f"transformer_{kind}_attention_layers.{{}}.",
            "decoder.layers.{}.",
            ((f"{module}.", f"{kind}_attention."), ("norm.", f"{kind}_attention_norm.")),
        )
    ),
    ("transformer_ffn_layers.{}.", "decoder.layers.{}.ffn."),
)


def _mask2former(name: str, pixel_decoder: str) -> Family:
    predictor = "sem_seg_head.predictor."
    encoder, attention = "transformer.encoder.layers.{}.", "transformer_cross_attention_layers.{}."
    return Family(
        name=name,
        marks=(pixel_decoder + encoder, predictor + attention),
        rules=(
            *under(predictor, "", _PREDICTOR),
            *under(pixel_decoder, "", _PIXEL_DECODER),
            ("backbone.", "backbone."),
        ),
        levels=f"{pixel_decoder}input_proj.",
        heads=(),
        coarse_first=True,
    )


# facebookresearch/Mask2Former, whose ResNet and Swin have Detectron2's names
MASK2FORMER = _mask2former("Mask2Former", "sem_seg_head.pixel_decoder.")
MASK2FORMER_OLD = _mask2former("Mask2Former, before its release", "sem_seg_head.")
