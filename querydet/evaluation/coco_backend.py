"""Computation of COCO's AP and AR, by one of two libraries that agree to the last digits.

`pycocotools` is the reference. `hotcoco` (`pip install querydet[fast-eval]`) computes the same numbers many times
faster; `benchmarks/coco_evaluation.py` measures how much, and tests compare them. Both return the arrays of precision
and recall; the metrics are derived from these here, in the same way for both and for any limit on the detections.
"""

import contextlib
import importlib.util
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from querydet.utils.run_lengths import RunLengths

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "hotcoco", "pycocotools")
AREAS = ("", "s", "m", "l")  # COCO's third axis: all, small, medium, large


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision and recall as accumulated by COCO's evaluation; -1 where there is no ground truth."""

    precision: np.ndarray  # (T, R, K, A, M): IoU .5:.05:.95, recall 0:.01:1, class, area, limit on detections
    recall: np.ndarray  # (T, K, A, M)
    max_dets: tuple[int, ...]  # M limits

    def twelve(self) -> dict[str, float]:
        """Return COCO's twelve metrics in [0, 1], or -1; with the largest limit in index of 100."""
        precision, recall = self.precision, self.recall
        metrics = {
            "AP": mean_known(precision[..., 0, -1]),
            "AP50": mean_known(precision[0, ..., 0, -1]),
            "AP75": mean_known(precision[5, ..., 0, -1]),
        }
        metrics |= {f"AP{area}": mean_known(precision[..., index, -1]) for index, area in enumerate(AREAS) if area}
        metrics |= {f"AR{limit}": mean_known(recall[..., 0, index]) for index, limit in enumerate(self.max_dets)}
        return metrics | {f"AR{area}": mean_known(recall[..., index, -1]) for index, area in enumerate(AREAS) if area}

    def per_class(self) -> list[float]:
        """Return the AP of each class in [0, 1], or -1."""
        return [mean_known(self.precision[:, :, index, 0, -1]) for index in range(self.precision.shape[2])]


def mean_known(values: np.ndarray) -> float:
    """Average the values that are not -1; -1 if all are."""
    known = values[values > -1]
    return float(np.mean(known)) if known.size else -1.0


class CocoBackend:
    """The library that computes AP and AR.

    Args:
        name: `hotcoco`, `pycocotools`, or `auto`: hotcoco if it is installed.

    Raises:
        ValueError: the name is unknown.
        ImportError: `hotcoco` is requested but not installed.
    """

    def __init__(self, name: str = "auto") -> None:
        if name not in BACKENDS:
            raise ValueError(f"the COCO backend must be one of {BACKENDS}, got '{name}'")
        installed = importlib.util.find_spec("hotcoco") is not None
        if name == "hotcoco" and not installed:
            raise ImportError(
                "backend='hotcoco' needs hotcoco: pip install 'querydet[fast-eval]', or use backend='auto', which "
                "falls back to pycocotools"
            )
        self.name = "pycocotools" if name == "pycocotools" or not installed else "hotcoco"
        self.version = version(self.name)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def evaluate(
        self,
        truth: Mapping[str, Any],
        rows: np.ndarray,
        max_dets: Sequence[int],
        image_ids: Sequence[int] | None = None,
        federated: bool = False,
        masks: Sequence[RunLengths] | None = None,
    ) -> Curves:
        """Match detections to ground truth and accumulate precision and recall.

        With masks, the IoU is theirs, and a detection has the size of its mask (Detectron2 does so too; pycocotools
        takes the area of the box for detections that have one).

        Args:
            truth: COCO's json: `images`, `categories`, and `annotations` with `area` and `iscrowd` and ids from 1.
            rows: (N, 7) float64: image id, x, y, w, h, score, category id; finite.
            max_dets: ascending limits on the number of detections per image and class; the highest scoring ones count.
            image_ids: images to evaluate on; None: all.
            federated: apply the rules of LVIS, for which images list their `neg_category_ids` and
                `not_exhaustive_category_ids`; only with hotcoco.
            masks: N checked run lengths of the detections, if masks are compared and not boxes; every annotation of the
                truth has run lengths as its `segmentation` then.
        """
        if self.name == "hotcoco":
            evaluation = _hotcoco(truth, rows, masks, federated)
        else:
            assert not federated
            evaluation = _pycocotools(truth, rows, masks)
        evaluation.params.maxDets = list(max_dets)
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            evaluation.accumulate()
        accumulated = evaluation.eval
        return Curves(np.asarray(accumulated["precision"]), np.asarray(accumulated["recall"]), tuple(max_dets))


def _hotcoco(truth: Mapping[str, Any], rows: np.ndarray, masks: Sequence[RunLengths] | None, federated: bool) -> Any:
    import hotcoco

    coco_truth = hotcoco.COCO(dict(truth))
    if not len(rows):
        coco_results = coco_truth.load_res([])
    else:
        coco_results = coco_truth.load_res(rows if masks is None else entries(rows, masks))
    return hotcoco.COCOeval(coco_truth, coco_results, _iou_type(masks), lvis_style=federated)


def _pycocotools(truth: Mapping[str, Any], rows: np.ndarray, masks: Sequence[RunLengths] | None) -> Any:
    from pycocotools.cocoeval import COCOeval

    coco_truth = coco_api(truth)
    if len(rows):
        with contextlib.redirect_stdout(io.StringIO()):
            coco_results = coco_truth.loadRes(rows if masks is None else entries(rows, masks))
    else:  # COCO.loadRes cannot load an empty array
        coco_results = coco_api({**truth, "annotations": []})
    return COCOeval(coco_truth, coco_results, _iou_type(masks))


def _iou_type(masks: Sequence[RunLengths] | None) -> str:
    return "bbox" if masks is None else "segm"


def entries(rows: np.ndarray, masks: Sequence[RunLengths]) -> list[dict[str, Any]]:
    """Return detections as entries of a results file without boxes, which would give them the area of the box."""
    return [
        {"image_id": int(image_id), "category_id": int(category_id), "score": score, "segmentation": mask}
        for (image_id, *_, score, category_id), mask in zip(rows.tolist(), masks, strict=True)
    ]


def coco_api(content: Mapping[str, Any]) -> Any:
    """Index a COCO json in memory with pycocotools, without its output on the console."""
    from pycocotools.coco import COCO

    api = COCO()
    api.dataset = {"info": {}, **content}
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api
