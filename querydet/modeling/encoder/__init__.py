"""Encoders: tokens of the image attend to each other."""

from querydet.modeling.encoder.deformable import DeformableEncoder, EncoderLayer
from querydet.modeling.encoder.dense import DenseEncoder, DenseEncoderLayer, ScaledDenseEncoder

__all__ = ["DeformableEncoder", "DenseEncoder", "DenseEncoderLayer", "EncoderLayer", "ScaledDenseEncoder"]
