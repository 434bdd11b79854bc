"""The named meta-architectures, in Detectron2's `META_ARCH_REGISTRY`."""

from querydet.modeling.meta_arch.align_detr import AlignDETR
from querydet.modeling.meta_arch.dac_detr import DACDETR
from querydet.modeling.meta_arch.deta import DETA
from querydet.modeling.meta_arch.dino import DINO
from querydet.modeling.meta_arch.dn_detr import DNDETR
from querydet.modeling.meta_arch.group_detr import GroupDETR
from querydet.modeling.meta_arch.ms_detr import MSDETR
from querydet.modeling.meta_arch.with_dino import MSDINO, GroupDINO

__all__ = ["DACDETR", "DETA", "DINO", "DNDETR", "MSDETR", "MSDINO", "AlignDETR", "GroupDETR", "GroupDINO"]
