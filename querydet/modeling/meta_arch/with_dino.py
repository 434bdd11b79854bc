"""DINO (arXiv 2203.03605) with the ideas of another paper: Group DETR (2207.13085) or MS-DETR (2401.03989)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.meta_arch.dino import DINO
from querydet.modeling.meta_arch.group_detr import GroupDETR
from querydet.modeling.meta_arch.ms_detr import MSDETR


@META_ARCH_REGISTRY.register()
class GroupDINO(GroupDETR, DINO):
    """The detector with groups of queries and all ideas of DINO; none of the shared code is overridden here."""

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of both papers, and whether the parts have them."""
        return {**GroupDETR.method_parts(self), **DINO.method_parts(self)}


@META_ARCH_REGISTRY.register()
class MSDINO(MSDETR, DINO):
    """The detector with mixed supervision and all ideas of DINO; none of the shared code is overridden here."""

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of both papers, and whether the parts have them."""
        return {**MSDETR.method_parts(self), **DINO.method_parts(self)}
