"""DINO: DETR with Improved deNoising anchOr boxes (arXiv 2203.03605)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class DINO(QueryDetector):
    """The detector with the three ideas of DINO.

    * Contrastive denoising (section 3.3): training adds queries that start from noised objects, positive ones to
      reconstruct the object and negative ones to be rejected: `querydet.modeling.queries.ContrastiveDenoising`.
    * Mixed query selection (section 3.4): the boxes of the queries come from the encoder's best tokens, their content
      is learned: `querydet.modeling.selection.TopKSelection` with a learned content.
    * Look forward twice (section 3.5): the loss of a layer also trains the box refinement of the layer before it:
      `decoder.look_forward_twice`.

    Everything else is shared with the other methods, and none of it is overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper, and whether the parts have them."""
        return {
            "contrastive denoising (model.denoising)": trait(self.denoising, "contrastive"),
            "mixed query selection (model.selection with a learned content)": (
                trait(self.selection, "has_encoder_predictions") and trait(self.selection, "learned_content")
            ),
            "looking forward twice (model.decoder.look_forward_twice)": trait(self.decoder, "look_forward_twice"),
        }
