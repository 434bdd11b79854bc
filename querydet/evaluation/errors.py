"""Kinds of detection errors and their costs: TIDE (Bolya et al., arXiv 2008.08115, section 2).

A detection that is no true positive at the IoU threshold t_f = 0.5 has the first of these errors that applies, in the
order of the authors' program; t_b = 0.1 separates objects from background:

    localisation    t_b <= IoU < t_f with an object of its class
    classification  t_f <= IoU with an object of another class
    duplicate       t_f <= IoU with an object of its class that a better detection has found
    background      IoU <= t_b with every object
    both            all others

An object is `missed` if it was not found and is not the best object of a detection with a localisation or
classification error. The cost of a kind is the gain in AP at t_f when all errors of this kind, and no others, are fixed
(section 2.3, `evaluation.error_costs`): boxes or classes are corrected, for each object in the detection with the
highest score of all that could be corrected to it; the other detections are suppressed; missed objects are removed from
the ground truth. Two more give the total cost of precision and recall: `false positives` suppresses all wrong
detections, `false negatives` removes all objects that were not found.

Differences to the authors' program (`tidecv`, not maintained): matching, crowd regions, the limit on detections, the
objects of a size and the mean over classes are COCO's, so that the AP before any fix is COCO's AP50, or its AP50 of
small, medium or large objects. hotcoco computes the gains of a whole data set, with which tests compare these; the
breakdown by class, size and image is ours. Where masks are compared, the IoU and the size of a detection are theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from pycocotools import mask as coco_mask

from querydet.evaluation.per_image import ImageTruth
from querydet.utils.run_lengths import RunLengths, mask_areas

POSITIVE, BACKGROUND = 0.5, 0.1  # TIDE, section 2.2


class Kind(IntEnum):
    """The label of a detection: right, ignored, or one of the errors."""

    RIGHT = 0
    IGNORED = 1  # in a crowd region, or matched with an object of another size
    CLASSIFICATION = 2
    LOCALISATION = 3
    BOTH = 4
    DUPLICATE = 5
    BACKGROUND = 6


ERRORS = (*(kind.name.lower() for kind in list(Kind)[2:]), "missed")


@dataclass(frozen=True, slots=True)
class Range:
    """A range of areas in square pixels, both ends included as in COCO."""

    least: float = 0.0
    most: float = float("inf")

    def holds(self, areas: np.ndarray) -> np.ndarray:
        """Return a mask of the areas inside of the range."""
        return (areas >= self.least) & (areas <= self.most)


SIZES = {"all": Range(), "small": Range(0, 32**2), "medium": Range(32**2, 96**2), "large": Range(96**2)}


@dataclass(frozen=True, slots=True)
class Objects:
    """The annotations of an image as arrays."""

    boxes: np.ndarray  # (T, 4) float64: x, y, w, h in pixels
    labels: np.ndarray  # (T,)
    areas: np.ndarray  # (T,)
    crowd: np.ndarray  # (T,) bool
    masks: Sequence[RunLengths] | None = None  # T; None: boxes are compared

    @classmethod
    def of(cls, truth: ImageTruth, masks: Sequence[RunLengths] | None = None) -> "Objects":
        """Convert the annotations of `per_image.image_truth`, with masks as of `coco_truth.annotation_masks`."""
        boxes = truth.boxes_xyxy_abs.numpy().copy()
        boxes[:, 2:] -= boxes[:, :2]
        return cls(boxes, truth.labels.numpy(), truth.areas.numpy(), truth.crowd.numpy(), masks)


@dataclass(frozen=True, slots=True)
class ImageErrors:
    """The errors of an image; n detections in descending order of score, T objects in their order."""

    rows: np.ndarray  # (n, 6) float64: x, y, w, h, score, class
    kinds: np.ndarray  # (n,) of `Kind`
    targets: np.ndarray  # (n,) index of the object that was found, or should have been; -1: none
    counted: np.ndarray  # (n,) bool: whether it counts in the AP of this size
    corrected: np.ndarray  # (n,) bool: whether it is kept, corrected, when its kind of error is fixed
    labels: np.ndarray  # (T,) classes of the objects
    asked: np.ndarray  # (T,) bool: objects to find: no crowd regions, and of this size
    found: np.ndarray  # (T,) bool
    missed: np.ndarray  # (T,) bool
    masks: list[RunLengths] | None = None  # of the detections, if masks are compared


def find_errors(
    rows: np.ndarray,
    objects: Objects,
    *,
    positive: float = POSITIVE,
    background: float = BACKGROUND,
    max_dets: int = 100,
    size: Range = SIZES["all"],
    masks: Sequence[RunLengths] | None = None,
) -> ImageErrors:
    """Find the errors of one image.

    Args:
        rows: (n, 6) float64: x, y, w, h in pixels, score, class index.
        objects: the annotations.
        positive: smallest IoU of a right detection with its object.
        background: largest IoU of a background detection with any object.
        max_dets: number of highest scoring detections that count, per class.
        size: areas of the objects to find; objects of other areas, and unmatched detections of other areas, are ignored
            as in COCO.
        masks: n checked run lengths of the detections, if masks are compared; the objects have some then.
    """
    order = _best(rows, max_dets)
    rows, masks = rows[order], None if masks is None else [masks[index] for index in order]
    overlaps = _overlaps(rows, masks, objects)
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
    counted = (kinds != Kind.IGNORED) & (hit | size.holds(_areas(rows, masks)))
    corrected, usable = _corrected(kinds, targets, found)
    missed = ~ignored & ~found & ~usable
    return ImageErrors(rows, kinds, targets, counted, corrected, objects.labels, ~ignored, found, missed, masks)


def _best(rows: np.ndarray, max_dets: int) -> np.ndarray:
    """Return the indices of the best detections of every class, in descending order of score."""
    order = np.argsort(-rows[:, 4], kind="stable")
    labels = rows[order, 5]
    keep = np.ones(len(rows), dtype=bool)
    if len(rows) > max_dets:
        for label in np.unique(labels):
            keep[np.flatnonzero(labels == label)[max_dets:]] = False
    return order[keep]


def _areas(rows: np.ndarray, masks: Sequence[RunLengths] | None) -> np.ndarray:
    return rows[:, 2] * rows[:, 3] if masks is None else np.array(mask_areas(masks), dtype=np.float64)


def _overlaps(rows: np.ndarray, masks: Sequence[RunLengths] | None, objects: Objects) -> np.ndarray:
    """Compute the IoU (n, T); for crowd regions, the covered fraction of the detection."""
    if not len(rows) or not len(objects.labels):
        return np.zeros((len(rows), len(objects.labels)))
    crowd = objects.crowd.astype(np.uint8)
    if masks is not None:
        assert objects.masks is not None
        return np.asarray(coco_mask.iou(list(masks), list(objects.masks), crowd))
    boxes = np.ascontiguousarray(rows[:, :4])
    return np.asarray(coco_mask.iou(boxes, np.ascontiguousarray(objects.boxes), crowd))


def _match(overlaps: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, positive: float) -> np.ndarray:
    """Match detections with objects as in COCO's evaluation: index (n,), -1 for none.

    Args:
        overlaps: (n, T), -1 for objects of another class.
        ignored: (T,) objects that are matched only if no other one can be.
        crowd: (T,) objects that can be matched several times.
        positive: smallest IoU of a match.
    """
    matches = np.full(len(overlaps), -1, dtype=np.int64)
    free = np.ones(len(ignored), dtype=bool)
    for index in np.flatnonzero((overlaps >= positive).any(axis=1)):
        candidates = np.flatnonzero((overlaps[index] >= positive) & (free | crowd))
        preferred = candidates[~ignored[candidates]]
        candidates = preferred if len(preferred) else candidates
        if len(candidates):
            values = overlaps[index, candidates]
            matches[index] = candidates[len(values) - 1 - values[::-1].argmax()]  # the last one of equal IoUs
            free[matches[index]] = False
    return matches


def _kinds(
    overlaps: np.ndarray, same: np.ndarray, found: np.ndarray, positive: float, background: float
) -> tuple[np.ndarray, np.ndarray]:
    """Classify every detection as if none were right, and find its object; overlaps (n, T) are -1 for crowds."""
    count = len(overlaps)
    if not overlaps.shape[1]:
        return np.full(count, Kind.BACKGROUND, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    own, other = np.where(same, overlaps, -1.0), np.where(same, -1.0, overlaps)
    best_own, best_other = own.max(axis=1), other.max(axis=1)
    found_own = np.where(found[None], own, -1.0)
    conditions = {
        Kind.LOCALISATION: (best_own >= background) & (best_own < positive),
        Kind.CLASSIFICATION: best_other >= positive,
        Kind.DUPLICATE: found_own.max(axis=1) >= positive,
        Kind.BACKGROUND: overlaps.max(axis=1) <= background,
    }
    kinds = np.select(list(conditions.values()), [int(kind) for kind in conditions], default=int(Kind.BOTH))
    overlaps_by_kind = {Kind.LOCALISATION: own, Kind.CLASSIFICATION: other, Kind.DUPLICATE: found_own}
    targets = np.select(
        [kinds == kind for kind in overlaps_by_kind],
        [values.argmax(axis=1) for values in overlaps_by_kind.values()],
        -1,
    )
    return kinds, targets


def _corrected(kinds: np.ndarray, targets: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mark the best detection (n,) that could be corrected to each object, and the objects that have one (T,)."""
    corrected, usable = np.zeros(len(kinds), dtype=bool), np.zeros(len(found), dtype=bool)
    for index in np.flatnonzero((kinds == Kind.CLASSIFICATION) | (kinds == Kind.LOCALISATION)):
        target = targets[index]
        if not found[target] and not usable[target]:
            corrected[index] = usable[target] = True
    return corrected, usable
