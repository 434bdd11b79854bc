"""Encoders: tokens of the image attend to each other."""

from querydet.modeling.encoder.base import EncoderLayer
from querydet.modeling.encoder.deformable import DeformableEncoder, deformable_encoder_layer
from querydet.modeling.encoder.dense import DenseEncoder, ScaledDenseEncoder, dense_encoder_layer

__all__ = [
    "DeformableEncoder",
    "DenseEncoder",
    "EncoderLayer",
    "ScaledDenseEncoder",
    "deformable_encoder_layer",
    "dense_encoder_layer",
]
