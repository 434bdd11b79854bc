"""Python side of the operators: each file has an operator's schema, its definition in PyTorch and its public function.

The native kernels are in the repository's `ops/csrc`.
"""

from querydet.ops.fused import fused_deformable_attention
from querydet.ops.ms_deform_attn import multi_scale_deformable_attention
from querydet.ops.suppression import suppress

__all__ = ["fused_deformable_attention", "multi_scale_deformable_attention", "suppress"]
