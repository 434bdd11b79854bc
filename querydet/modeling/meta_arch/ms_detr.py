"""MS-DETR: efficient DETR training with mixed supervision (arXiv 2401.03989)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.structures import Branch
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class MSDETR(QueryDetector):
    """The detector with the idea of MS-DETR: the queries that inference uses are supervised twice.

    * One-to-many supervision (section 3.2): inside every decoder layer, the queries of the primary group are read a
      second time, and each object is given several of them, so that they learn to be candidates:
      `decoder.layer.read_out` and `querydet.modeling.assigners.OneToManyAssigner`. The one-to-one supervision
      of the layer's output chooses among them, as before.
    * Where in the layer that is (figure 4): the order of the layer's steps and the step after which is read. The
      released model (c) puts the cross-attention first, which finds candidates, reads there, and leaves their
      selection to the self-attention behind it: `decoder.layer.order`.

    Neither extra queries nor extra decoder branches are needed, and inference does not see any of it. Everything else
    is shared with the other methods, and none of it is overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper, and whether each is there."""
        rules = trait(self.criterion, "rules").values()
        one_to_many = [rule for rule in rules if rule.branch is Branch.ONE_TO_MANY]
        return {
            "a one-to-many branch (model.decoder.layer.one_to_many)": trait(self.decoder, "has_one_to_many"),
            "one-to-many assignment (a rule with branch='one_to_many' and a OneToManyAssigner)": any(
                trait(rule.assigner, "one_to_one") is False for rule in one_to_many
            ),
        }
