"""Align-DETR: improving DETR with an IoU-aware class loss (arXiv 2304.07527)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.structures import Role, Stage
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class AlignDETR(QueryDetector):
    """The detector whose class scores are trained to tell how good a box is.

    * The class target of an assigned query is the quality of its box, and not one:
      `querydet.modeling.align.IoUAwareClassLoss`.
    * Mixed matching: all layers but the last assign several queries to each object:
      `querydet.modeling.assigners.Copies`.
    * The queries of an object are weighed by the rank of their quality: `querydet.modeling.align.RankWeights`.

    Everything else is shared with the other methods, and none of it is overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper that every variant has, not mixed matching, and whether the parts have them."""
        rules = [
            rule
            for rule in trait(self.criterion, "rules").values()
            if (rule.stage, rule.role) == (Stage.DECODER, Role.MATCHING)
        ]
        return {
            "class targets of the quality of a box (losses of model.criterion.rules)": any(
                trait(term, "aligns_quality") for rule in rules for term in rule.losses.values()
            ),
            "weights by rank (pair_weights of model.criterion.rules)": any(rule.pair_weights for rule in rules),
        }
