"""One-to-many assignment by overlap, as detectors before DETR do it (DETA, arXiv 2212.06137, equations 2 and 3).

A query belongs to the object that its *start* box overlaps most: in the first stage the anchor of a token, in the
second the proposal that a decoder query starts from, where the same pairs serve all layers
(`SupervisionRule(assign_once=True)`). Predictions do not matter.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from detectron2.modeling.sampling import subsample_labels
from torch import Tensor

from querydet.modeling.assigners.host import HostAssigner
from querydet.modeling.assigners.ranking import Matcher, Ranking
from querydet.modeling.boxes import box_iou, cxcywh_to_xyxy
from querydet.structures import Assignment, PredictionSet, Targets

BACKGROUND = 0  # label of a query that overlaps no object enough; 1: positive, -1: neither


class IoUAssigner(HostAssigner):
    """Assigns to every object the queries whose start boxes overlap it most, up to a limit ("object balancing").

    Where paper and released code differ, this is the code: an object with c positive queries gets the
    min(c, max_queries) *of all queries* that overlap it most. So a query may serve two objects, with the class of the
    later one. The random sample of positives is drawn before that: it decides how many queries an object gets, not
    which.

    Args:
        matcher: function from IoU (T, Q) to the best object and the label of each query. Detectron2's `Matcher` with
            `allow_low_quality_matches` makes *every* query positive that has an object's highest IoU (of an object that
            overlaps nothing, all queries have it); `ThresholdMatcher` makes one of them positive. A label of -1 only
            keeps a query out of the sampled background, which no loss uses: queries without a pair are background.
        max_queries: largest number of queries of an object; 4 in the paper.
        positive_fraction: largest part of the samples that are positive; positives beyond are dropped at random. None:
            all are kept, and nothing is random.
        num_samples: number of samples of an image that `positive_fraction` refers to; None: the number of queries. The
            released code samples 256, half of them positive, in the first stage, and all queries, a quarter of them
            positive, in the second.
        iou_eps: added to the union; 0 in the released code, 1e-6 in detrex.

    Raises:
        ValueError: for a number out of its range.
    """

    one_to_one = False
    reads_boxes = True
    compares_start_boxes = True

    def __init__(
        self,
        *,
        matcher: Matcher,
        max_queries: int = 4,
        positive_fraction: float | None = None,
        num_samples: int | None = None,
        iou_eps: float = 0.0,
    ) -> None:
        if max_queries < 1 or (num_samples is not None and num_samples < 1):
            raise ValueError(f"max_queries and num_samples must be at least 1, found {max_queries} and {num_samples}")
        if positive_fraction is not None and not 0 < positive_fraction <= 1:
            raise ValueError(f"positive_fraction must be in (0, 1] or None, found {positive_fraction}")
        self.matcher = matcher
        self.max_queries = max_queries
        self.positive_fraction = positive_fraction
        self.num_samples = num_samples
        self.iou_eps = iou_eps

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """Compute the ranking of each set and image.

        Raises:
            ValueError: when the queries start from points, which overlap nothing.
        """
        computed: list[Tensor] = []
        for prediction_set in predictions:
            if prediction_set.start_boxes.shape[-1] != 4:
                raise ValueError(
                    f"{prediction_set.describe()} start from points, which have no IoU with an object: select "
                    "proposals (model.selection), or assign by predictions"
                )
            for start_boxes, gt_boxes in zip(prediction_set.start_boxes, targets.boxes, strict=True):
                iou = self.iou(start_boxes, gt_boxes)
                computed += Ranking.of(iou, self.matcher, self.max_queries).tensors()
        return tuple(computed)

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Assign the queries of each image; pairs are ordered by rising object, and then by falling IoU."""
        remaining = iter(computed)
        return [
            tuple(self._choose(Ranking(*islice(remaining, 4)), seed) for seed in targets.seeds) for _ in predictions
        ]

    def iou(self, start_boxes: Tensor, gt_boxes: Tensor) -> Tensor:
        """Compute the IoU (T, Q) of the start boxes (Q, 4) and the objects (T, 4) of an image."""
        return box_iou(cxcywh_to_xyxy(gt_boxes)[:, None], cxcywh_to_xyxy(start_boxes)[None], self.iou_eps)

    def _choose(self, ranking: Ranking, seed: int | None) -> Assignment:
        positive = ranking.label == 1
        if self.positive_fraction is not None and not ranking.is_empty:
            positive = self._sample(ranking.label, seed)
        queries, objects, _ = ranking.choose(positive)
        return Assignment(queries=queries, objects=objects)

    def _sample(self, labels: Tensor, seed: int | None) -> Tensor:
        """Return (Q,) bool, True for the positives to keep, drawn on the CPU so that the device does not matter."""
        assert self.positive_fraction is not None
        num_samples = len(labels) if self.num_samples is None else self.num_samples
        with _drawing_from(seed):
            positive, _ = subsample_labels(labels.to(torch.int8), num_samples, self.positive_fraction, BACKGROUND)
        return torch.zeros_like(labels, dtype=torch.bool).index_fill(0, positive, True)


@contextmanager
def _drawing_from(seed: int | None) -> Iterator[None]:
    """Let the CPU's default generator start from a seed within this context; None: leave it as it is.

    Detectron2's sampler draws from that generator and takes no other.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
