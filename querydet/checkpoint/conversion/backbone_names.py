"""Names of backbone parameters in torchvision, timm and Hugging Face, and in Detectron2."""

Rules = tuple[tuple[str, str], ...]

TORCHVISION: Rules = (
    ("bn1.", "stem.conv1.norm."),  # longer names of ours first: rules are applied in both directions
    ("conv1.", "stem.conv1."),
    *(
        rule
        for stage in (1, 2, 3, 4)
        for rule in (
            (f"layer{stage}.{{}}.downsample.1.", f"res{stage + 1}.{{}}.shortcut.norm."),
            (f"layer{stage}.{{}}.downsample.0.", f"res{stage + 1}.{{}}.shortcut."),
            *((f"layer{stage}.{{}}.bn{n}.", f"res{stage + 1}.{{}}.conv{n}.norm.") for n in (1, 2, 3)),
            *((f"layer{stage}.{{}}.conv{n}.", f"res{stage + 1}.{{}}.conv{n}.") for n in (1, 2, 3)),
        )
    ),
)
SWIN: Rules = (  # the same names in Detectron2
    ("patch_embed.", "patch_embed."),
    ("layers.", "layers."),
    *((f"norm{n}.", f"norm{n}.") for n in range(4)),
)
HF_RESNET: Rules = (
    ("embedder.embedder.normalization.", "stem.conv1.norm."),
    ("embedder.embedder.convolution.", "stem.conv1."),
    *(
        rule
        for stage in (0, 1, 2, 3)
        for rule in (
            (f"encoder.stages.{stage}.layers.{{}}.shortcut.normalization.", f"res{stage + 2}.{{}}.shortcut.norm."),
            (f"encoder.stages.{stage}.layers.{{}}.shortcut.convolution.", f"res{stage + 2}.{{}}.shortcut."),
            *(
                (f"encoder.stages.{stage}.layers.{{}}.layer.{n}.{theirs}.", f"res{stage + 2}.{{}}.conv{n + 1}.{ours}")
                for n in (0, 1, 2)
                for theirs, ours in (("normalization", "norm."), ("convolution", ""))
            ),
        )
    ),
)
_BLOCK, _OURS = "encoder.layers.{}.blocks.{}.", "layers.{}.blocks.{}."
HF_SWIN: Rules = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.norm.", "patch_embed.norm."),
    (_BLOCK + "layernorm_before.", _OURS + "norm1."),
    (_BLOCK + "layernorm_after.", _OURS + "norm2."),
    *(
        (_BLOCK + f"attention.self.relative_position_{what}", _OURS + f"attn.relative_position_{what}")
        for what in ("bias_table", "index")
    ),
    *(
        (_BLOCK + f"attention.self.{part}.{kind}", _OURS + f"attn.qkv.{kind}#{index}")
        for index, part in enumerate(("query", "key", "value"))
        for kind in ("weight", "bias")
    ),
    (_BLOCK + "attention.output.dense.", _OURS + "attn.proj."),
    (_BLOCK + "intermediate.dense.", _OURS + "mlp.fc1."),
    (_BLOCK + "output.dense.", _OURS + "mlp.fc2."),
    ("encoder.layers.{}.downsample.", "layers.{}.downsample."),
    *((f"hidden_states_norms.stage{n + 1}.", f"norm{n}.") for n in range(4)),
)
