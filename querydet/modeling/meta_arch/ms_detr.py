"""MS-DETR: efficient DETR training with mixed supervision (arXiv 2401.03989)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.structures import Branch
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class MSDETR(QueryDetector):
    """The detector with the idea of MS-DETR: the queries that inference uses are supervised twice.

    * One-to-many supervision (section 3.2): inside every decoder layer, the queries of the primary group predict a
      second time, and several of them are assigned to each object, so that they learn to be candidates:
      `decoder.layer.one_to_many` and `querydet.modeling.assigners.OneToManyAssigner`. The one-to-one supervision of the
      layer's output learns to choose among them.
    * The placement of that branch (section 3.3, figure 4): the order of the layer's steps, and the step after which the
      branch starts. The released model (c) runs the cross-attention first, which finds candidates, starts the branch
      there, and leaves the choice to the self-attention behind it: `decoder.layer.order`.

    There are neither extra queries nor extra decoders, and inference does not run the branch. Everything else is shared
    with the other methods, and none of it is overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper, and whether the parts have them."""
        rules = trait(self.criterion, "rules").values()
        one_to_many = [rule for rule in rules if rule.branch is Branch.ONE_TO_MANY]
        return {
            "a one-to-many branch (model.decoder.layer.one_to_many)": trait(self.decoder, "has_one_to_many"),
            "one-to-many assignment (a rule with branch='one_to_many' and a OneToManyAssigner)": any(
                trait(rule.assigner, "one_to_one") is False for rule in one_to_many
            ),
        }
