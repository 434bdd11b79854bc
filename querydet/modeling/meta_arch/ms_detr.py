"""MS-DETR: efficient DETR training with mixed supervision (arXiv 2401.03989)."""

from typing import Any

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.assigners import OneToManyAssigner
from querydet.modeling.detector import QueryDetector
from querydet.modeling.meta_arch.requirements import require_parts
from querydet.structures import Branch


@META_ARCH_REGISTRY.register()
class MSDETR(QueryDetector):
    """The detector with the idea of MS-DETR: the queries that inference uses are supervised twice.

    * One-to-many supervision (section 3.2): inside every decoder layer, the queries of the primary group are read a
      second time, and each object is given several of them, so that they learn to be candidates:
      ``decoder.layer.read_out`` and :class:`querydet.modeling.assigners.OneToManyAssigner`. The one-to-one supervision
      of the layer's output chooses among them, as before.
    * Where in the layer that is (figure 4): the order of the layer's steps and the step after which is read. The
      released model (c) puts the cross-attention first, which finds candidates, reads there, and leaves their
      selection to the self-attention behind it: ``decoder.layer.order``.

    Neither extra queries nor extra decoder branches are needed, and inference does not see any of it. Everything else
    is shared with the other methods, and none of it is overridden here.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        rules = [rule for rule in self.criterion.rules if rule.branch is Branch.ONE_TO_MANY]
        require_parts(
            self,
            {
                "a one-to-many read-out (model.decoder.layer.read_out)": self.decoder.layers[0].read_out is not None,
                "one-to-many assignment (a rule with branch='one_to_many' and a OneToManyAssigner)": any(
                    isinstance(rule.assigner, OneToManyAssigner) for rule in rules
                ),
            },
        )
