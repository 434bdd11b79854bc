"""DETA: DEtection Transformers with Assignment ("NMS Strikes Back", arXiv 2212.06137)."""

from typing import Any

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.assigners import IoUAssigner
from querydet.detector import QueryDetector
from querydet.postprocess import NMSPostprocess
from querydet.selection import NMSSelection
from querydet.structures import Role, Stage


@META_ARCH_REGISTRY.register()
class DETA(QueryDetector):
    """The detector trained as detectors before DETR were: many queries for an object, and suppression afterwards.

    * Assignment by overlap in both stages (section 3): objects are given to the tokens whose anchors overlap them, and
      to the decoder queries whose proposals do, once for all layers: :class:`querydet.assigners.IoUAssigner`. Each
      object gets a few at most, so that large ones do not take all ("object balancing").
    * Proposals are suppressed within each level before some become queries: :class:`querydet.selection.NMSSelection`.
    * Detections are suppressed within each class: :class:`querydet.postprocess.NMSPostprocess`.

    Everything else is two-stage Deformable DETR with more queries and levels, which the paper calls its improved
    baseline (``configs/common/models/deta_baseline.py``), and none of it is overridden here.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        missing = []
        for stage in Stage:
            rules = [rule for rule in self.criterion.rules if (rule.stage, rule.role) == (stage, Role.MATCHING)]
            if not any(isinstance(rule.assigner, IoUAssigner) for rule in rules):
                missing.append(f"assignment by overlap of the {stage.value}'s predictions (model.criterion.rules)")
            elif stage is Stage.DECODER and not any(rule.assign_once for rule in rules):
                missing.append("one assignment for all decoder layers (assign_once of model.criterion.rules)")
        if not isinstance(self.selection, NMSSelection):
            missing.append("suppression of proposals (model.selection)")
        if not isinstance(self.postprocess, NMSPostprocess):
            missing.append("suppression of detections (model.postprocess)")
        if missing:
            raise ValueError(
                f"DETA lacks {', '.join(missing)}; use querydet.detector.QueryDetector for other combinations of parts"
            )
