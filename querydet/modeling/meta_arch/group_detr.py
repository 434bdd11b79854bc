"""Group DETR: fast DETR training with group-wise one-to-many assignment (arXiv 2207.13085)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class GroupDETR(QueryDetector):
    """The detector with the idea of Group DETR.

    * Group-wise one-to-many assignment (section 3.1): training runs G groups of queries through the same decoder, and
      each is matched one to one, so that every object trains G queries, which do not compete.
    * Separate self-attention (section 3.1): groups do not attend to each other, or duplicates would be suppressed
      across groups: `querydet.modeling.decoder.group_attention.plan_attention` folds the groups into the batch.
    * The loss is the mean over the groups (equation 7): `loss_divisor` of each group.

    Inference runs the primary group only. `querydet.modeling.selection.GroupedSelection` makes the groups, of any
    selection: of proposals, of learned boxes, or of learned queries. Everything else is shared with the other methods,
    and none of it is overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper, and whether the parts have them."""
        several = trait(self.selection, "num_groups") > 1
        return {"groups of queries (model.selection=GroupedSelection with num_groups of at least 2)": several}
