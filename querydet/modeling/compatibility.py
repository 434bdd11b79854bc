"""Checks that the parts of a detector fit together, run once when it is built.

They read the members of the Protocols in `querydet.parts` and the traits of `querydet.traits`, and never test for a
class.
"""

from typing import Any, Protocol

import torch
from detectron2.modeling import Backbone
from torch import Tensor

from querydet.mask_parts import Masks
from querydet.modeling.mask_compatibility import check_masks
from querydet.modeling.rule_compatibility import check_rules
from querydet.parts import CriterionPart, Decoder, Denoising, Encoder, Heads, Neck, Postprocess, Selection
from querydet.traits import trait

LEVELWISE = "querydet.modeling.decoder.levelwise_decoder_layer"


class Parts(Protocol):
    """The parts of a detector."""

    @property
    def backbone(self) -> Backbone:
        """Images to maps."""

    @property
    def neck(self) -> Neck:
        """Maps to tokens."""

    @property
    def encoder(self) -> Encoder:
        """Tokens to encoded tokens."""

    @property
    def selection(self) -> Selection:
        """Encoded tokens to queries."""

    @property
    def denoising(self) -> Denoising | None:
        """Objects to queries."""

    @property
    def decoder(self) -> Decoder:
        """Queries to hidden states."""

    @property
    def heads(self) -> Heads:
        """Hidden states to predictions."""

    @property
    def masks(self) -> Masks | None:
        """Hidden states to masks."""

    @property
    def criterion(self) -> CriterionPart:
        """Predictions to losses."""

    @property
    def postprocess(self) -> Postprocess:
        """Predictions to detections."""

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""

    pixel_mean: Tensor
    pixel_std: Tensor
    input_format: str


def check_parts(parts: Parts) -> None:
    """Raise ValueError, naming parts and remedy, when the parts of a detector do not fit together."""
    check_backbone(parts)
    check_pixels(parts)
    check_levels(parts)
    check_widths(parts)
    check_heads(parts)
    check_image_is_read(parts)
    check_positions(parts)
    check_indicator(parts)
    check_groups(parts)
    check_masks(parts.masks, parts.backbone, parts.neck, parts.selection, parts.decoder, parts.heads, parts.criterion)
    check_rules(parts.criterion, parts.selection, parts.denoising, parts.decoder, parts.heads, parts.postprocess)


def check_backbone(parts: Parts) -> None:
    """Check that the backbone has the maps that the neck reads."""
    shapes = parts.backbone.output_shape()
    for name, channels in parts.neck.in_channels.items():
        if name not in shapes:
            raise ValueError(f"model.neck.in_channels names '{name}', but the backbone gives {sorted(shapes)}")
        if shapes[name].channels != channels:
            raise ValueError(
                f"model.neck.in_channels.{name} is {channels}, but the backbone gives {shapes[name].channels} channels"
            )


def check_pixels(parts: Parts) -> None:
    """Check that images are normalised as for the weights of the backbone, if it, or a network in it, says how."""
    for network in parts.backbone.modules():
        if not isinstance(wanted := getattr(network, "pixel_mean", None), tuple):
            continue
        for name, values in (("pixel_mean", wanted), ("pixel_std", network.pixel_std)):
            own = getattr(parts, name)
            if not own.is_meta and not torch.allclose(own.flatten().float().cpu(), torch.tensor(values), atol=0.5):
                text = ",".join(f"{value:g}" for value in values)
                raise ValueError(
                    f"model.{name} is {[round(value, 3) for value in own.flatten().tolist()]}, but the weights of "
                    f"{network.name} are for [{text}]: set model.{name}=[{text}], or, where yours are for other "
                    f"values, {name} of the backbone"
                )
        if parts.input_format != network.input_format:
            raise ValueError(
                f"model.input_format is {parts.input_format}, but {network.name} takes {network.input_format}: set "
                f"model.input_format and image_format of the mappers to {network.input_format}"
            )


def check_levels(parts: Parts) -> None:
    """Check that encoder and decoder attend to the levels that the neck makes."""
    levels = parts.neck.num_levels
    attended = {name: trait(getattr(parts, name), "num_levels") for name in ("encoder", "decoder")}
    unfit = [name for name, count in attended.items() if count not in (None, levels)]
    if not unfit:
        return
    of_one_map = [name for name in unfit if attended[name] == 1]
    if not of_one_map:
        raise ValueError(
            f"the neck makes {levels} levels, but the {unfit[0]} attends to {attended[unfit[0]]}: set "
            f"model.{unfit[0]}.layer.num_levels={levels}"
        )
    kinds = ", ".join(f"model.{name}={_kind(getattr(parts, name))}" for name in of_one_map)
    if attended["encoder"] in (None, levels):
        raise ValueError(
            f"{kinds} attends to every token of one map, but model.encoder={_kind(parts.encoder)} works on {levels} "
            "levels, of which it sees no more: take querydet.modeling.neck.SingleMapNeck and DenseEncoder, "
            "querydet.modeling.decoder.DeformableDecoder, or layers that attend to each level "
            f"(model.decoder.layer._target_={LEVELWISE}, with its num_levels={levels})"
        )
    raise ValueError(
        f"{kinds} attends to every token of one map, but model.neck={_kind(parts.neck)} makes {levels} levels: take "
        "querydet.modeling.neck.SingleMapNeck, or deformable attention (querydet.modeling.encoder.DeformableEncoder, "
        "querydet.modeling.decoder.DeformableDecoder)"
    )


def check_widths(parts: Parts) -> None:
    """Check that every part with a width has that of the neck."""
    members: dict[str, Any] = {
        "neck.position_embedding": getattr(parts.neck, "position_embedding", None),
        "encoder": parts.encoder,
        "selection": parts.selection,
        "denoising": parts.denoising,
        "decoder.query_position": getattr(parts.decoder, "query_position", None),
        "decoder": parts.decoder,
        "heads": parts.heads,
        "masks.head": None if parts.masks is None else parts.masks.head,
    }
    width = trait(parts.neck, "embed_dim")
    for name, member in members.items():
        member_width = trait(member, "embed_dim")
        if None not in (width, member_width) and member_width != width:
            raise ValueError(
                f"model.{name}.embed_dim is {member_width}, but model.neck.embed_dim is {width}, and all parts share "
                "one width: set only model.neck.embed_dim, which the other parts of the shipped configs follow"
            )


def check_heads(parts: Parts) -> None:
    """Check that all parts are made for the same number of layers and classes."""
    layers = parts.decoder.num_layers
    if parts.heads.num_layers not in (None, layers):
        raise ValueError(f"model.heads.num_layers is {parts.heads.num_layers}, but the decoder has {layers} layers")
    for name in ("heads", "selection", "denoising"):
        count = trait(getattr(parts, name), "num_classes")
        if count not in (None, parts.num_classes):
            raise ValueError(f"model.num_classes is {parts.num_classes}, but model.{name} is made for {count} classes")


def check_image_is_read(parts: Parts) -> None:
    """Check that queries depend on the image, through the cross-attention or the proposals that they start from."""
    if not trait(parts.decoder, "reads_tokens") and not trait(parts.selection, "has_encoder_predictions"):
        raise ValueError(
            "no image would reach the queries: the layers of model.decoder have no cross-attention, and "
            f"model.selection={_kind(parts.selection)} does not select proposals. Set "
            "model.decoder.layer.cross_attention=null, or take querydet.modeling.selection.TopKSelection"
        )


def check_positions(parts: Parts) -> None:
    """Check that the queries have exactly one positional part, and that denoising queries meet boxes."""
    embedded = trait(parts.decoder, "embeds_boxes")
    fixed, points = parts.selection.fixed_positions, parts.selection.reference_dim == 2
    if not embedded and not fixed:
        raise ValueError(
            "nothing gives the queries a position: set model.decoder.query_position (positions from the current boxes) "
            "or model.selection.box_embedding (fixed positions from the first boxes)"
        )
    if embedded and points:
        raise ValueError(
            "model.decoder.query_position makes positions from boxes, but model.selection gives reference points "
            "without a size: set model.decoder.query_position=None, or select boxes"
        )
    if embedded and fixed:
        raise ValueError(
            "the queries would have two positions: set model.decoder.query_position=None to keep the fixed ones of "
            "model.selection.box_embedding, or model.selection.box_embedding=None"
        )
    if parts.denoising is not None and points:
        raise ValueError(
            "denoising queries start from boxes, but model.selection gives reference points and a table of positions, "
            "and there is no map from a box to one: select boxes, or set model.denoising=None"
        )


def check_indicator(parts: Parts) -> None:
    """Check that matching and denoising queries both have the indicator, or neither."""
    if parts.denoising is None:
        return
    marks = {name: trait(getattr(parts, name), "indicator") for name in ("selection", "denoising")}
    if marks["selection"] != marks["denoising"]:
        kept, other = sorted(marks, key=lambda name: not marks[name])
        raise ValueError(
            f"model.{kept} keeps the last channel of the content for an indicator, which tells matching from denoising "
            f"queries, but model.{other} does not: give both an indicator, or model.{kept}.indicator=False"
        )


def check_groups(parts: Parts) -> None:
    """Check that the denoising makes queries for one matching group, or for all."""
    groups, denoised = trait(parts.selection, "num_groups"), trait(parts.denoising, "num_groups")
    if denoised not in (1, groups):
        raise ValueError(
            f"model.denoising makes queries for {denoised} groups, but model.selection makes {groups}: set "
            f"model.denoising.num_groups={groups}, or use the plain denoising part, for the primary group only"
        )


def _kind(part: object) -> str:
    return type(part).__name__
