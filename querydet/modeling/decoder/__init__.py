"""Decoders: queries attend to each other and to the image, and refine their boxes layer by layer."""

from querydet.modeling.decoder.box_position import BoxPosition, ScaledBoxPosition
from querydet.modeling.decoder.deformable import DeformableDecoder, deformable_decoder_layer
from querydet.modeling.decoder.dense import (
    ConditionalDecoder,
    DabDecoder,
    DetrDecoder,
    conditional_decoder_layer,
    detr_decoder_layer,
)
from querydet.modeling.decoder.layer import DecoderLayer
from querydet.modeling.decoder.levelwise import LevelwiseDecoderLayer, levelwise_decoder_layer
from querydet.modeling.decoder.masked import MaskedDecoder, masked_decoder_layer
from querydet.modeling.decoder.one_to_many import OneToManyBranch
from querydet.modeling.decoder.query_mlp import QueryMLP
from querydet.modeling.decoder.second_stream import SecondStream

__all__ = [
    "BoxPosition",
    "ConditionalDecoder",
    "DabDecoder",
    "DecoderLayer",
    "DeformableDecoder",
    "DetrDecoder",
    "LevelwiseDecoderLayer",
    "MaskedDecoder",
    "OneToManyBranch",
    "QueryMLP",
    "ScaledBoxPosition",
    "SecondStream",
    "conditional_decoder_layer",
    "deformable_decoder_layer",
    "detr_decoder_layer",
    "levelwise_decoder_layer",
    "masked_decoder_layer",
]
