"""DAC-DETR: divide the attention layers and conquer (NeurIPS 2023)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.structures import Branch, Role
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class DACDETR(QueryDetector):
    """The detector whose cross-attention is trained without self-attention too.

    * A second stream: in training, the queries run through the same decoder layers again and skip self-attention, which
      would keep them from gathering around an object: `querydet.modeling.decoder.SecondStream`.
    * It is supervised one to many, while the ordinary stream stays one to one:
      `querydet.modeling.assigners.OneToManyAssigner`.

    Inference runs the ordinary stream only. Everything else is shared with the other methods, and none of it is
    overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper, and whether the parts have them."""
        second = [
            rule
            for rule in trait(self.criterion, "rules").values()
            if (rule.role, rule.branch) == (Role.MATCHING, Branch.SECOND_STREAM)
        ]
        return {
            "a second stream (model.decoder.second_stream)": trait(self.decoder, "has_second_stream"),
            "its one-to-many assignment (a rule with branch='second_stream' and a OneToManyAssigner)": any(
                trait(rule.assigner, "one_to_one") is False for rule in second
            ),
        }
