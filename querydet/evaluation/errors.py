"""What is wrong with detections, and what it costs: the errors of TIDE (Bolya et al., arXiv 2008.08115, section 2).

A detection that is no true positive at the IoU threshold t_f = 0.5 has the first of these errors that fits, in the
order of the authors' program; t_b = 0.1 separates objects from background:

    localisation    t_b <= IoU < t_f with an object of its class
    classification  t_f <= IoU with an object of another class
    duplicate       t_f <= IoU with an object of its class that a better detection has found
    background      IoU <= t_b with every object
    both            all others

and an object is ``missed`` that was neither found nor is the best object of a detection with a localisation or
classification error. The cost of a kind is the gain in AP at t_f when all errors of this kind are fixed and nothing
else (section 2.3, `querydet.evaluation.error_costs`): boxes or classes corrected, one detection an object, the one of
the highest score of all that could be corrected to it; the other detections suppressed; missed objects no longer asked
for. Two more say what precision and recall cost altogether: ``false positives`` suppresses all wrong detections,
``false negatives`` does not ask for any object that was not found.

Different from the authors' program (``tidecv``, not maintained): matching, crowd regions, the limit on detections, the
objects of a size and the mean over classes are COCO's, so that the AP before any fix is COCO's AP50, or its AP50 of
small, medium or large objects. hotcoco has the gains of a whole data set, with which tests compare these; classes,
sizes and images are ours.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from pycocotools import mask as coco_mask

from querydet.evaluation.per_image import ImageTruth

POSITIVE, BACKGROUND = 0.5, 0.1  # TIDE, section 2.2


class Kind(IntEnum):
    """What a detection is."""

    RIGHT = 0
    IGNORED = 1  # in a crowd region, or of an object of another size
    CLASSIFICATION = 2
    LOCALISATION = 3
    BOTH = 4
    DUPLICATE = 5
    BACKGROUND = 6


ERRORS = (*(kind.name.lower() for kind in list(Kind)[2:]), "missed")


@dataclass(frozen=True, slots=True)
class Range:
    """Areas in square pixels, both ends included as in COCO."""

    least: float = 0.0
    most: float = float("inf")

    def holds(self, areas: np.ndarray) -> np.ndarray:
        """Mask of the areas that lie in it."""
        return (areas >= self.least) & (areas <= self.most)


SIZES = {"all": Range(), "small": Range(0, 32**2), "medium": Range(32**2, 96**2), "large": Range(96**2)}


@dataclass(frozen=True, slots=True)
class Objects:
    """The annotations of an image as arrays."""

    boxes: np.ndarray  # (T, 4) float64: x, y, w, h in pixels
    labels: np.ndarray  # (T,)
    areas: np.ndarray  # (T,)
    crowd: np.ndarray  # (T,) bool

    @classmethod
    def of(cls, truth: ImageTruth) -> "Objects":
        """From the annotations of `querydet.evaluation.per_image.image_truth`."""
        boxes = truth.boxes_xyxy_abs.numpy().copy()
        boxes[:, 2:] -= boxes[:, :2]
        return cls(boxes, truth.labels.numpy(), truth.areas.numpy(), truth.crowd.numpy())


@dataclass(frozen=True, slots=True)
class ImageErrors:
    """The errors of an image; detections (n) by falling score, objects (T) in their order."""

    rows: np.ndarray  # (n, 6) float64: x, y, w, h, score, class
    kinds: np.ndarray  # (n,) of `Kind`
    targets: np.ndarray  # (n,) the object that was found, or should have been; -1: none
    counted: np.ndarray  # (n,) bool: in the AP of this size
    corrected: np.ndarray  # (n,) bool: the detection that an object gets when its errors are fixed
    labels: np.ndarray  # (T,) classes of the objects
    asked: np.ndarray  # (T,) bool: objects that count: no crowd region, and of this size
    found: np.ndarray  # (T,) bool
    missed: np.ndarray  # (T,) bool


def find_errors(
    rows: np.ndarray,
    objects: Objects,
    *,
    positive: float = POSITIVE,
    background: float = BACKGROUND,
    max_dets: int = 100,
    size: Range = SIZES["all"],
) -> ImageErrors:
    """The errors of one image.

    Args:
        rows: (n, 6) float64: x, y, w, h in pixels, score, class index.
        objects: the annotations.
        positive: IoU from which a detection has found an object.
        background: IoU up to which it has nothing to do with it.
        max_dets: detections of a class that count, the best ones.
        size: objects of these areas are asked for; others, and detections of another size that found nothing, are
            ignored as in COCO.
    """
    rows = _best(rows, max_dets)
    overlaps = _overlaps(rows, objects)
    same = rows[:, 5:].astype(np.int64) == objects.labels[None]
    ignored = objects.crowd | ~size.holds(objects.areas)
    matches = _match(np.where(same, overlaps, -1.0), ignored, objects.crowd, positive)
    found = np.zeros(len(objects.labels), dtype=bool)
    found[matches[matches >= 0]] = True
    found &= ~objects.crowd
    kinds, targets = _kinds(np.where(objects.crowd[None], -1.0, overlaps), same, found, positive, background)
    hit = matches >= 0
    targets[hit] = matches[hit]
    kinds[hit] = Kind.RIGHT
    kinds[hit] = np.where(ignored[matches[hit]], Kind.IGNORED, Kind.RIGHT)
    counted = (kinds != Kind.IGNORED) & (hit | size.holds(rows[:, 2] * rows[:, 3]))
    corrected, usable = _corrected(kinds, targets, found)
    return ImageErrors(
        rows, kinds, targets, counted, corrected, objects.labels, ~ignored, found, ~ignored & ~found & ~usable
    )


def _best(rows: np.ndarray, max_dets: int) -> np.ndarray:
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    keep = np.ones(len(rows), dtype=bool)
    if len(rows) > max_dets:
        for label in np.unique(rows[:, 5]):
            keep[np.flatnonzero(rows[:, 5] == label)[max_dets:]] = False
    return rows[keep]


def _overlaps(rows: np.ndarray, objects: Objects) -> np.ndarray:
    """(n, T): IoU, and for crowd regions the covered part of the detection."""
    if not len(rows) or not len(objects.labels):
        return np.zeros((len(rows), len(objects.labels)))
    boxes = np.ascontiguousarray(rows[:, :4])
    return np.asarray(coco_mask.iou(boxes, np.ascontiguousarray(objects.boxes), objects.crowd.astype(np.uint8)))


def _match(overlaps: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, positive: float) -> np.ndarray:
    """(n,): the object of each detection as in COCO's evaluation, -1 for none; (n, T) has -1 for other classes."""
    matches = np.full(len(overlaps), -1, dtype=np.int64)
    free = np.ones(len(ignored), dtype=bool)
    for index in np.flatnonzero((overlaps >= positive).any(axis=1)):
        candidates = np.flatnonzero((overlaps[index] >= positive) & (free | crowd))
        preferred = candidates[~ignored[candidates]]
        candidates = preferred if len(preferred) else candidates
        if len(candidates):
            values = overlaps[index, candidates]
            matches[index] = candidates[len(values) - 1 - values[::-1].argmax()]  # the last one of equals
            free[matches[index]] = False
    return matches


def _kinds(
    overlaps: np.ndarray, same: np.ndarray, found: np.ndarray, positive: float, background: float
) -> tuple[np.ndarray, np.ndarray]:
    """The error of every detection if it is one, and its object; (n, T) overlaps have -1 for crowd regions."""
    count = len(overlaps)
    if not overlaps.shape[1]:
        return np.full(count, Kind.BACKGROUND, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    own, other = np.where(same, overlaps, -1.0), np.where(same, -1.0, overlaps)
    most_own, most_other = own.max(axis=1), other.max(axis=1)
    again = np.where(found[None], own, -1.0)
    conditions = {
        Kind.LOCALISATION: (most_own >= background) & (most_own < positive),
        Kind.CLASSIFICATION: most_other >= positive,
        Kind.DUPLICATE: again.max(axis=1) >= positive,
        Kind.BACKGROUND: overlaps.max(axis=1) <= background,
    }
    kinds = np.select(list(conditions.values()), [int(kind) for kind in conditions], default=int(Kind.BOTH))
    places = {Kind.LOCALISATION: own, Kind.CLASSIFICATION: other, Kind.DUPLICATE: again}
    targets = np.select([kinds == kind for kind in places], [each.argmax(axis=1) for each in places.values()], -1)
    return kinds, targets


def _corrected(kinds: np.ndarray, targets: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of all detections that could be corrected to an object, the best (n,); objects that have one (T,)."""
    corrected, usable = np.zeros(len(kinds), dtype=bool), np.zeros(len(found), dtype=bool)
    for index in np.flatnonzero((kinds == Kind.CLASSIFICATION) | (kinds == Kind.LOCALISATION)):
        target = targets[index]
        if not found[target] and not usable[target]:
            corrected[index] = usable[target] = True
    return corrected, usable
