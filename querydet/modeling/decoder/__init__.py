"""Decoders: queries attend to each other and to the image, and refine their boxes layer by layer."""

from querydet.modeling.decoder.box_position import BoxPosition, ScaledBoxPosition
from querydet.modeling.decoder.deformable import DecoderLayer, DeformableDecoder
from querydet.modeling.decoder.dense import (
    ConditionalDecoder,
    ConditionalDecoderLayer,
    DabDecoder,
    DetrDecoder,
    DetrDecoderLayer,
)
from querydet.modeling.decoder.one_to_many import OneToManyBranch

__all__ = [
    "BoxPosition",
    "ConditionalDecoder",
    "ConditionalDecoderLayer",
    "DabDecoder",
    "DecoderLayer",
    "DeformableDecoder",
    "DetrDecoder",
    "DetrDecoderLayer",
    "OneToManyBranch",
    "ScaledBoxPosition",
]
