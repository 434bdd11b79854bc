"""DETA: DEtection Transformers with Assignment ("NMS Strikes Back", arXiv 2212.06137)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.parts import Assigner
from querydet.structures import Role, Stage
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class DETA(QueryDetector):
    """The detector trained as detectors before DETR were: several queries for an object, and suppression afterwards.

    * Assignment by overlap in both stages (equations 2 and 3): objects are assigned to the tokens whose anchors overlap
      them, and to the decoder queries whose proposals do, once for all layers:
      `querydet.modeling.assigners.IoUAssigner`. The number of queries of an object is limited, so that large objects do
      not take all of them ("object balancing").
    * Proposals are suppressed within each level before some become queries:
      `querydet.modeling.selection.NMSSelection`.
    * Detections are suppressed within each class: `querydet.modeling.postprocess.NMSPostprocess`.

    Everything else is two-stage Deformable DETR with more queries and levels, which the paper calls its improved
    baseline (`configs/common/models/deta_baseline.py`), and none of it is overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper, and whether the parts have them."""
        rules = {rule.stage: rule for rule in trait(self.criterion, "rules").values() if rule.role is Role.MATCHING}
        overlap = {stage: stage in rules and _by_overlap(rules[stage].assigner) for stage in Stage}
        once = Stage.DECODER in rules and rules[Stage.DECODER].assign_once
        return {
            **{
                f"assignment by overlap of the {stage.value}'s predictions (model.criterion.rules)": overlap[stage]
                for stage in Stage
            },
            "one assignment for all decoder layers (assign_once of model.criterion.rules)": once,
            "suppression of proposals (model.selection)": trait(self.selection, "suppresses"),
            "suppression of detections (model.postprocess)": trait(self.postprocess, "suppresses"),
        }


def _by_overlap(assigner: Assigner) -> bool:
    return trait(assigner, "one_to_one") is False and trait(assigner, "compares_start_boxes")
