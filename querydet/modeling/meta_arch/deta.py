"""DETA: DEtection Transformers with Assignment ("NMS Strikes Back", arXiv 2212.06137)."""

from typing import Any

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.assigners import IoUAssigner
from querydet.modeling.detector import QueryDetector
from querydet.modeling.meta_arch.requirements import require_parts
from querydet.modeling.postprocess import NMSPostprocess
from querydet.modeling.selection import NMSSelection
from querydet.structures import Role, Stage


@META_ARCH_REGISTRY.register()
class DETA(QueryDetector):
    """The detector trained as detectors before DETR were: many queries for an object, and suppression afterwards.

    * Assignment by overlap in both stages (equations 2 and 3): objects are given to the tokens whose anchors overlap
      them, and to the decoder queries whose proposals do, once for all layers:
      :class:`querydet.modeling.assigners.IoUAssigner`. Each object gets a few at most, so that large ones do not take
      all ("object balancing").
    * Proposals are suppressed within each level before some become queries:
      :class:`querydet.modeling.selection.NMSSelection`.
    * Detections are suppressed within each class: :class:`querydet.modeling.postprocess.NMSPostprocess`.

    Everything else is two-stage Deformable DETR with more queries and levels, which the paper calls its improved
    baseline (``configs/common/models/deta_baseline.py``), and none of it is overridden here.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        rules = {rule.stage: rule for rule in self.criterion.rules if rule.role is Role.MATCHING}
        overlap = {stage: stage in rules and isinstance(rules[stage].assigner, IoUAssigner) for stage in Stage}
        once = Stage.DECODER in rules and rules[Stage.DECODER].assign_once
        require_parts(
            self,
            {
                **{
                    f"assignment by overlap of the {stage.value}'s predictions (model.criterion.rules)": overlap[stage]
                    for stage in Stage
                },
                "one assignment for all decoder layers (assign_once of model.criterion.rules)": once,
                "suppression of proposals (model.selection)": isinstance(self.selection, NMSSelection),
                "suppression of detections (model.postprocess)": isinstance(self.postprocess, NMSPostprocess),
            },
        )
