"""DN-DETR: Accelerate DETR Training by Introducing Query DeNoising (arXiv 2203.01305)."""

from collections.abc import Mapping

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.traits import trait


@META_ARCH_REGISTRY.register()
class DNDETR(QueryDetector):
    """The detector with the idea of DN-DETR, on top of DAB-DETR's boxes as queries.

    * Denoising (section 4.3): early in training the matching is unstable, and a query is matched with other objects
      from one epoch to the next. Training adds queries that start from noised objects and whose objects are known:
      `querydet.modeling.queries.Denoising`. Matching queries do not attend to them (section 4.4).
    * Queries are boxes (section 4.2): a noised object can be a query only where a query is a box and a content. Those
      of the matching queries are learned: `querydet.modeling.selection.LearnedBoxes`.
    * An indicator (section 4.5), the last channel of the content, distinguishes the two kinds: `selection.indicator`.

    Everything else is shared with the other methods, and none of it is overridden here.
    """

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of the paper, and whether the parts have them."""
        boxes = self.selection.reference_dim == 4 and not trait(self.selection, "has_encoder_predictions")
        return {
            "denoising (model.denoising)": self.denoising is not None and not trait(self.denoising, "contrastive"),
            "queries that start from learned boxes (model.selection, LearnedBoxes)": boxes,
            "the indicator (model.selection.indicator)": trait(self.selection, "indicator"),
        }
