"""Published layouts of the weights of backbones, and the network that each of them is turned into.

Unlike a search for names with equal ends, a rule says where a weight goes: equal shapes cannot be confused. Sources:
the repositories that the layouts name, timm 1.0 and torchvision 0.29.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from querydet.checkpoint.conversion.backbone_names import TORCHVISION, Rules
from querydet.checkpoint.conversion.names import compile_name, under

CLASSIFIER = "of the classifier"
COMPUTED = "a buffer that the model computes itself"
BUFFERS = ("relative_position_index", "attn_mask", "num_batches_tracked", "relative_coords_table")
Reasons = tuple[tuple[str, str], ...]

_HEAD: Reasons = tuple((name, CLASSIFIER) for name in ("norm.", "fc_norm.", "head.", "fc.", "avgpool."))


@dataclass(frozen=True)
class Layout:
    """The names of a published backbone.

    Names are templates as in `querydet.checkpoint.conversion.names`: `{}` is a number, one that ends in a dot a prefix.

    Args:
        name: what the messages call it.
        marks: names that all of its files have.
        network: names of the network that it is turned into.
        rules: their name and ours, the first match counts.
        unused: beginnings of names that no detector uses, with the reason.
        without: names that a file may not have: those of a relative.
        network_without: names that the network may not have.
        squeezed: whether 1x1 convolutions are stored as matrices.
        scaled: rules for a file with layer scales (`gamma_1`), whose norms follow attention and feed-forward.
    """

    name: str
    marks: tuple[str, ...]
    network: tuple[str, ...]
    rules: Rules
    unused: Reasons = _HEAD
    without: tuple[str, ...] = ()
    network_without: tuple[str, ...] = ()
    squeezed: bool = False
    scaled: Rules = ()

    def our_names(self, names: Iterable[str]) -> dict[str, str | None]:
        """Translate names; None is that of one that no rule matches."""
        names = list(names)
        scaled = any(name.endswith(".gamma_1") for name in names)
        rules = (*(self.scaled if scaled else ()), *self.rules)
        return {name: _translated(name, rules) for name in names}

    def reason_to_drop(self, name: str) -> str | None:
        """Return why no detector uses a weight; None for one that has to have a place."""
        if name.endswith(BUFFERS):
            return COMPUTED
        return next((why for mark, why in self.unused if name.startswith(mark)), None)

    def is_file(self, names: Iterable[str]) -> bool:
        """Return whether names are those of such a file."""
        return _has(names, self.marks, self.without)

    def is_network(self, names: Iterable[str]) -> bool:
        """Return whether names are those of the network that it is turned into."""
        return _has(names, self.network, self.network_without)


def _translated(name: str, rules: Rules) -> str | None:
    for theirs, ours in rules:
        match = compile_name(theirs).match(name)
        if match:
            return ours.format(*match.groups()) + name[match.end() :]
    return None


def _has(names: Iterable[str], marks: Iterable[str], without: Iterable[str]) -> bool:
    names = list(names)
    found = {mark: any(compile_name(mark).match(name) for name in names) for mark in (*marks, *without)}
    return all(found[mark] for mark in marks) and not any(found[mark] for mark in without)


RESNET = ("stem.conv1.", "res2.{}.")
SWIN = ("patch_embed.proj.", "layers.0.downsample.reduction.", "layers.{}.blocks.{}.attn.relative_position_bias_table")
VIT = ("patch_embed.proj.", "blocks.{}.attn.qkv.", "blocks.{}.mlp.fc1.")
CONVNEXT = ("stem.0.", "stages.{}.blocks.{}.conv_dw.")  # timm's
FOCALNET = ("stem.proj.", "layers.{}.blocks.{}.modulation.f.")  # timm's
MVIT = "blocks.{}.attn.pool_q."

_BLOCK = "layers.{}.blocks.{}."
_SWIN_BLOCKS: Rules = (("patch_embed.", "patch_embed."), (_BLOCK, _BLOCK))
_OUTPUTS: Rules = tuple((f"norm{n}.", f"norm{n}.") for n in range(4))  # of the maps, in detectors
_LATER = (1, 2, 3)  # stages that begin with, or follow, a halving of the map

# facebookresearch/mae with the token of classes and the decoder of the pre-training; timm has the same names
_TOKENS: Reasons = (
    ("cls_token", "the class token, which a detector does not use"),
    ("mask_token", "of the decoder of the pre-training"),
    ("decoder_", "of the decoder of the pre-training"),
)

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="Detectron2's ResNet",
        marks=RESNET,
        network=RESNET,
        rules=(("stem.conv1.", "stem.conv1."), ("res{}.{}.", "res{}.{}.")),
        unused=(("stem.fc.", CLASSIFIER), ("fc", CLASSIFIER), ("linear", CLASSIFIER)),
    ),
    Layout(
        name="torchvision's and timm's ResNet",
        marks=("conv1.weight", "bn1.", "layer1.{}.conv1."),
        network=RESNET,
        rules=TORCHVISION,
    ),
    Layout(
        name="Microsoft's Swin Transformer",
        marks=SWIN,
        network=SWIN,
        rules=(
            *_SWIN_BLOCKS,
            ("layers.{}.downsample.", "layers.{}.downsample."),
            *_OUTPUTS,
        ),
    ),
    Layout(
        name="timm's Swin Transformer",
        marks=("patch_embed.proj.", "layers.1.downsample.reduction.", SWIN[2]),
        without=("layers.0.downsample.",),
        network=SWIN,
        rules=(*_SWIN_BLOCKS, *((f"layers.{n}.downsample.", f"layers.{n - 1}.downsample.") for n in _LATER)),
    ),
    Layout(
        name="torchvision's Swin Transformer",
        marks=("features.0.0.", "features.2.reduction.", "features.{}.{}.attn.relative_position_bias_table"),
        network=SWIN,
        rules=(
            ("features.0.0.", "patch_embed.proj."),
            ("features.0.2.", "patch_embed.norm."),
            *((f"features.{2 * n}.", f"layers.{n - 1}.downsample.") for n in _LATER),
            *(
                rule
                for n in range(4)
                for rule in under(
                    f"features.{2 * n + 1}.{{}}.",
                    f"layers.{n}.blocks.{{}}.",
                    (
                        ("mlp.0.", "mlp.fc1."),
                        ("mlp.3.", "mlp.fc2."),
                        *((part, part) for part in ("norm1.", "norm2.", "attn.")),
                    ),
                )
            ),
        ),
    ),
    Layout(
        name="the plain vision transformer of MAE and timm",
        marks=VIT,
        without=(MVIT,),
        network=VIT,
        network_without=(MVIT, "cls_token"),
        rules=tuple((name, name) for name in ("pos_embed", "patch_embed.proj.", "blocks.{}.")),
        unused=(*_HEAD, *_TOKENS),
    ),
    Layout(
        name="Facebook's ConvNeXt",
        marks=("downsample_layers.0.0.", "stages.{}.{}.dwconv."),
        network=CONVNEXT,
        rules=(
            ("downsample_layers.0.", "stem."),
            *((f"downsample_layers.{n}.", f"stages.{n}.downsample.") for n in _LATER),
            *under(
                "stages.{}.{}.",
                "stages.{}.blocks.{}.",
                (("dwconv.", "conv_dw."), ("pwconv1.", "mlp.fc1."), ("pwconv2.", "mlp.fc2."), ("norm.", "norm.")),
            ),
            ("stages.{}.{}.gamma", "stages.{}.blocks.{}.gamma"),
            *_OUTPUTS,
        ),
        squeezed=True,
    ),
    Layout(
        name="Microsoft's FocalNet",
        marks=("patch_embed.proj.", "layers.0.downsample.proj.", FOCALNET[1]),
        network=FOCALNET,
        rules=(
            ("patch_embed.", "stem."),
            *((f"layers.{n - 1}.downsample.", f"layers.{n}.downsample.") for n in _LATER),
            *((f"{_BLOCK}gamma_{n}", f"{_BLOCK}ls{n}.gamma") for n in (1, 2)),
            (_BLOCK, _BLOCK),
            *_OUTPUTS,
        ),
        squeezed=True,
        scaled=tuple((f"{_BLOCK}norm{n}.", f"{_BLOCK}norm{n}_post.") for n in (1, 2)),
    ),
)
