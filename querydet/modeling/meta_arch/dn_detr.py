"""DN-DETR: Accelerate DETR Training by Introducing Query DeNoising (arXiv 2203.01305)."""

from typing import Any

from detectron2.modeling import META_ARCH_REGISTRY

from querydet.modeling.detector import QueryDetector
from querydet.modeling.meta_arch.requirements import require_parts
from querydet.modeling.queries import Denoising
from querydet.modeling.selection import LearnedBoxes


@META_ARCH_REGISTRY.register()
class DNDETR(QueryDetector):
    """The detector with the idea of DN-DETR, on top of DAB-DETR's boxes as queries.

    * Denoising (section 4.3): matching is unstable early in training, a query gets another object from one epoch to
      the next. Training adds queries that start from noised objects and whose object is known:
      :class:`querydet.modeling.queries.Denoising`. Matching queries do not see them (section 4.4).
    * Queries are boxes (section 4.2): a noised object can only be a query where a query is a box and a content. The
      matching ones are learned: :class:`querydet.modeling.selection.LearnedBoxes`.
    * An indicator (section 4.5), the last channel of the content, tells the two kinds apart: ``selection.indicator``.

    Everything else is shared with the other methods, and none of it is overridden here.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        anchors = isinstance(self.selection, LearnedBoxes)
        require_parts(
            self,
            {
                "denoising (model.denoising)": isinstance(self.denoising, Denoising),
                "queries that start from learned boxes (model.selection, LearnedBoxes)": anchors,
                "the indicator (model.selection.indicator)": getattr(self.selection, "indicator", False),
            },
        )
