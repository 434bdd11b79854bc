"""The named meta-architectures, in Detectron2's ``META_ARCH_REGISTRY``."""

from querydet.meta_arch.dino import DINO
from querydet.meta_arch.dn_detr import DNDETR

__all__ = ["DINO", "DNDETR"]
