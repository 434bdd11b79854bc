"""The named meta-architectures, in Detectron2's ``META_ARCH_REGISTRY``."""

from querydet.meta_arch.dino import DINO

__all__ = ["DINO"]
