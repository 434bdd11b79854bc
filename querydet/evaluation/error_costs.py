"""The gain in AP from fixing one kind of the errors of `evaluation.errors` (TIDE, section 2.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from querydet.evaluation.errors import ImageErrors, Kind

RECALLS = np.linspace(0, 1, 101)  # COCO
SPECIAL = ("false positives", "false negatives")


@dataclass(frozen=True, slots=True)
class Costs:
    """AP and costs of errors by class; AP in [0, 1], or -1 for classes without objects."""

    ap: np.ndarray  # (K,) at the positive threshold
    fixed: Mapping[str, np.ndarray]  # by error, and those of `SPECIAL`: (K,) AP with this kind fixed
    counts: Mapping[str, np.ndarray]  # by error: (K,) by detected class, for `missed` by the object's class
    objects: np.ndarray  # (K,)
    detections: np.ndarray  # (K,) detections that are not ignored

    def mean_ap(self) -> float:
        """Average the AP over the classes that have objects; -1 if none has."""
        known = self.objects > 0
        return float(self.ap[known].mean()) if known.any() else -1.0

    def gain(self, error: str) -> float:
        """Return the gain in mean AP from fixing a kind of errors, at least 0; -1 without objects."""
        known = self.objects > 0
        return max(0.0, float(self.fixed[error][known].mean()) - self.mean_ap()) if known.any() else -1.0

    def class_gain(self, error: str, index: int) -> float:
        """Return the change in AP of one class from fixing a kind of errors; -1 without objects."""
        return float(self.fixed[error][index] - self.ap[index]) if self.objects[index] else -1.0


def cost_of_errors(images: Sequence[ImageErrors], num_classes: int) -> Costs:
    """Compute the cost of each kind of error.

    Args:
        images: errors of all images of the data set, also of_kind without detections, in the order of their ids (which
            breaks ties of scores, as in COCO).
        num_classes: K.
    """
    joined = _Joined(images)
    objects = np.bincount(joined.object_labels[joined.asked], minlength=num_classes)
    missed = np.bincount(joined.object_labels[joined.missed], minlength=num_classes)
    not_found = np.bincount(joined.object_labels[joined.asked & ~joined.found], minlength=num_classes)
    right = joined.kinds == Kind.RIGHT
    base = _average_precisions(joined, joined.labels, right, joined.counted, objects)
    wrong = joined.counted & ~right
    fixed, counts = {}, {}
    for kind in list(Kind)[2:]:
        name, of_kind = kind.name.lower(), joined.kinds == kind
        counts[name] = np.bincount(joined.labels[of_kind & joined.counted], minlength=num_classes)
        repaired = of_kind & joined.corrected & joined.target_asked
        labels = np.where(repaired, joined.target_labels, joined.labels)
        fixed[name] = _average_precisions(
            joined, labels, right | repaired, joined.counted & ~of_kind | repaired, objects
        )
    counts["missed"] = missed
    fixed["missed"] = _average_precisions(joined, joined.labels, right, joined.counted, objects - missed)
    fixed[SPECIAL[0]] = _average_precisions(joined, joined.labels, right, right, objects)
    fixed[SPECIAL[1]] = _average_precisions(joined, joined.labels, right, joined.counted, objects - not_found)
    for values in fixed.values():
        values[objects == 0] = -1.0
    detections = np.bincount(joined.labels[right | wrong], minlength=num_classes)
    return Costs(base, fixed, counts, objects, detections)


class _Joined:
    """The arrays of all images, concatenated."""

    def __init__(self, images: Sequence[ImageErrors]) -> None:
        rows = np.concatenate([np.zeros((0, 6)), *(image.rows for image in images)])
        self.scores, self.labels = rows[:, 4], rows[:, 5].astype(np.int64)
        self.kinds = _join([image.kinds for image in images], np.int64)
        self.counted = _join([image.counted for image in images], bool)
        self.corrected = _join([image.corrected for image in images], bool)
        self.target_labels = _join([_at(image.labels, image.targets, -1) for image in images], np.int64)
        self.target_asked = _join([_at(image.asked, image.targets, False) for image in images], bool)
        self.object_labels = _join([image.labels for image in images], np.int64)
        self.asked = _join([image.asked for image in images], bool)
        self.found = _join([image.found for image in images], bool)
        self.missed = _join([image.missed for image in images], bool)
        self.order = np.argsort(-self.scores, kind="stable")


def _join(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts]).astype(dtype)


def _at(values: np.ndarray, indices: np.ndarray, default: int | bool) -> np.ndarray:
    if not len(values):
        return np.full(len(indices), default)
    return np.where(indices >= 0, values[indices], default)


def _average_precisions(
    joined: _Joined, labels: np.ndarray, right: np.ndarray, counted: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """Compute COCO's AP (K,) of each class; 0 without objects."""
    order = joined.order[counted[joined.order]]
    labels, right = labels[order], right[order]
    by_class = np.argsort(labels, kind="stable")
    labels, right = labels[by_class], right[by_class]
    bounds = np.searchsorted(labels, np.arange(len(objects) + 1))
    precisions = np.zeros(len(objects))
    for index, total in enumerate(objects):
        hits = right[bounds[index] : bounds[index + 1]]
        if total > 0 and hits.any():
            precisions[index] = average_precision(hits, int(total))
    return precisions


def average_precision(right: np.ndarray, objects: int) -> float:
    """Compute COCO's AP at one IoU threshold, the mean of the precision at 101 recalls.

    Args:
        right: (n,) bool, n >= 1, whether each detection is right, in descending order of score.
        objects: number of objects.
    """
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    indices = np.searchsorted(hits / objects, RECALLS, side="left")
    return float(np.where(indices < len(hits), precision[np.minimum(indices, len(hits) - 1)], 0.0).mean())
