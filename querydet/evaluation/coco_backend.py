"""The computation of COCO's AP and AR, by one of two libraries that agree to the last digits.

``pycocotools`` is the reference. ``hotcoco`` (``pip install querydet[fast-eval]``) computes the same numbers many times
faster; `benchmarks/coco_evaluation.py` measures how much, and tests compare them. Both give the arrays of precision and
recall; what is read from these is computed here, in one way for both and for any limit on the detections.
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

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "hotcoco", "pycocotools")
AREAS = ("", "s", "m", "l")  # COCO's third axis: all, small, medium, large


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision and recall as COCO accumulates them; -1 where there is no ground truth."""

    precision: np.ndarray  # (T, R, K, A, M): IoU .5:.05:.95, recall 0:.01:1, class, area, limit on detections
    recall: np.ndarray  # (T, K, A, M)
    max_dets: tuple[int, ...]  # M limits

    def twelve(self) -> dict[str, float]:
        """COCO's twelve numbers in [0, 1], or -1; with the highest limit in place of 100."""
        precision, recall = self.precision, self.recall
        found = {
            "AP": mean_known(precision[..., 0, -1]),
            "AP50": mean_known(precision[0, ..., 0, -1]),
            "AP75": mean_known(precision[5, ..., 0, -1]),
        }
        found |= {f"AP{area}": mean_known(precision[..., place, -1]) for place, area in enumerate(AREAS) if area}
        found |= {f"AR{limit}": mean_known(recall[..., 0, place]) for place, limit in enumerate(self.max_dets)}
        return found | {f"AR{area}": mean_known(recall[..., place, -1]) for place, area in enumerate(AREAS) if area}

    def per_class(self) -> list[float]:
        """AP of each class in [0, 1], or -1."""
        return [mean_known(self.precision[:, :, index, 0, -1]) for index in range(self.precision.shape[2])]


def mean_known(values: np.ndarray) -> float:
    """The mean of what is not -1; -1 where everything is."""
    known = values[values > -1]
    return float(np.mean(known)) if known.size else -1.0


class CocoBackend:
    """One of the libraries.

    Args:
        name: ``hotcoco``, ``pycocotools``, or ``auto``: hotcoco where it is installed.

    Raises:
        ValueError: another name.
        ImportError: hotcoco is asked for and not installed.
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
    ) -> Curves:
        """Matches detections to ground truth and accumulates.

        Args:
            truth: COCO's json: ``images``, ``categories``, and ``annotations`` with ``area`` and ``iscrowd`` and ids
                from 1.
            rows: (N, 7) float64: image id, x, y, w, h, score, category id; finite.
            max_dets: rising limits on the highest scoring detections of an image and class that count.
            image_ids: images to evaluate on; None: all.
            federated: LVIS's rules, for which the images list their ``neg_category_ids`` and
                ``not_exhaustive_category_ids``; by hotcoco alone.
        """
        if self.name == "hotcoco":
            evaluation = _hotcoco(truth, rows, federated)
        else:
            assert not federated
            evaluation = _pycocotools(truth, rows)
        evaluation.params.maxDets = list(max_dets)
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            evaluation.accumulate()
        found = evaluation.eval
        return Curves(np.asarray(found["precision"]), np.asarray(found["recall"]), tuple(max_dets))


def _hotcoco(truth: Mapping[str, Any], rows: np.ndarray, federated: bool) -> Any:
    import hotcoco

    wanted = hotcoco.COCO(dict(truth))
    found = wanted.load_res(rows) if len(rows) else wanted.load_res([])
    return hotcoco.COCOeval(wanted, found, "bbox", lvis_style=federated)


def _pycocotools(truth: Mapping[str, Any], rows: np.ndarray) -> Any:
    from pycocotools.cocoeval import COCOeval

    wanted = coco_api(truth)
    if len(rows):
        with contextlib.redirect_stdout(io.StringIO()):
            found = wanted.loadRes(rows)
    else:  # which COCO.loadRes cannot load
        found = coco_api({**truth, "annotations": []})
    return COCOeval(wanted, found, "bbox")


def coco_api(content: Mapping[str, Any]) -> Any:
    """pycocotools' view of a COCO json in memory, without its prints."""
    from pycocotools.coco import COCO

    api = COCO()
    api.dataset = {"info": {}, **content}
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api
