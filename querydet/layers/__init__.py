"""Layers shared by every detector: the deformable attention operator and the module around it."""

from querydet.layers.deformable_attention import MultiScaleDeformableAttention
from querydet.layers.ms_deform_attn import multi_scale_deformable_attention

__all__ = ["MultiScaleDeformableAttention", "multi_scale_deformable_attention"]
