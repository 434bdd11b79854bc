"""The gain in AP when one kind of the errors of `querydet.evaluation.errors` is fixed (TIDE, section 2.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from querydet.evaluation.errors import ImageErrors, Kind

RECALLS = np.linspace(0, 1, 101)  # COCO's
SPECIAL = ("false positives", "false negatives")


@dataclass(frozen=True, slots=True)
class Costs:
    """The errors of a data set; AP in [0, 1], or -1 for classes without objects."""

    ap: np.ndarray  # (K,) at the positive threshold
    fixed: Mapping[str, np.ndarray]  # by error, and `SPECIAL`: (K,) AP with this kind fixed
    counts: Mapping[str, np.ndarray]  # by error: (K,), of the detected class, and of the object's where missed
    objects: np.ndarray  # (K,)
    detections: np.ndarray  # (K,) that count

    def mean_ap(self) -> float:
        """AP over the classes that have objects; -1 where none has."""
        known = self.objects > 0
        return float(self.ap[known].mean()) if known.any() else -1.0

    def gain(self, error: str) -> float:
        """What fixing a kind of errors gains in mean AP, at least 0; -1 without objects."""
        known = self.objects > 0
        return max(0.0, float(self.fixed[error][known].mean()) - self.mean_ap()) if known.any() else -1.0

    def class_gain(self, error: str, index: int) -> float:
        """What it changes in the AP of a class; -1 without objects."""
        return float(self.fixed[error][index] - self.ap[index]) if self.objects[index] else -1.0


def cost_of_errors(images: Sequence[ImageErrors], num_classes: int) -> Costs:
    """What each kind of error costs.

    Args:
        images: of the whole data set, in the order of their ids (equal scores count in this order, as in COCO), also
            those without detections.
        num_classes: K.
    """
    every = _Joined(images)
    objects = np.bincount(every.object_labels[every.asked], minlength=num_classes)
    missed = np.bincount(every.object_labels[every.missed], minlength=num_classes)
    lost = np.bincount(every.object_labels[every.asked & ~every.found], minlength=num_classes)
    right = every.kinds == Kind.RIGHT
    base = _average_precisions(every, every.labels, right, every.counted, objects)
    wrong = every.counted & ~right
    fixed, counts = {}, {}
    for kind in list(Kind)[2:]:
        name, those = kind.name.lower(), every.kinds == kind
        counts[name] = np.bincount(every.labels[those & every.counted], minlength=num_classes)
        repaired = those & every.corrected & every.target_asked
        labels = np.where(repaired, every.target_labels, every.labels)
        fixed[name] = _average_precisions(every, labels, right | repaired, every.counted & ~those | repaired, objects)
    counts["missed"] = missed
    fixed["missed"] = _average_precisions(every, every.labels, right, every.counted, objects - missed)
    fixed[SPECIAL[0]] = _average_precisions(every, every.labels, right, right, objects)
    fixed[SPECIAL[1]] = _average_precisions(every, every.labels, right, every.counted, objects - lost)
    for values in fixed.values():
        values[objects == 0] = -1.0
    detections = np.bincount(every.labels[right | wrong], minlength=num_classes)
    return Costs(base, fixed, counts, objects, detections)


class _Joined:
    """The arrays of all images, one behind the other."""

    def __init__(self, images: Sequence[ImageErrors]) -> None:
        rows = np.concatenate([np.zeros((0, 6)), *(each.rows for each in images)])
        self.scores, self.labels = rows[:, 4], rows[:, 5].astype(np.int64)
        self.kinds = _join([each.kinds for each in images], np.int64)
        self.counted = _join([each.counted for each in images], bool)
        self.corrected = _join([each.corrected for each in images], bool)
        self.target_labels = _join([_at(each.labels, each.targets, -1) for each in images], np.int64)
        self.target_asked = _join([_at(each.asked, each.targets, False) for each in images], bool)
        self.object_labels = _join([each.labels for each in images], np.int64)
        self.asked = _join([each.asked for each in images], bool)
        self.found = _join([each.found for each in images], bool)
        self.missed = _join([each.missed for each in images], bool)
        self.order = np.argsort(-self.scores, kind="stable")


def _join(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts]).astype(dtype)


def _at(values: np.ndarray, places: np.ndarray, otherwise: int | bool) -> np.ndarray:
    if not len(values):
        return np.full(len(places), otherwise)
    return np.where(places >= 0, values[places], otherwise)


def _average_precisions(
    every: _Joined, labels: np.ndarray, right: np.ndarray, counted: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """(K,): COCO's AP of each class; 0 without objects."""
    order = every.order[counted[every.order]]
    labels, right = labels[order], right[order]
    by_class = np.argsort(labels, kind="stable")
    labels, right = labels[by_class], right[by_class]
    bounds = np.searchsorted(labels, np.arange(len(objects) + 1))
    found = np.zeros(len(objects))
    for index, total in enumerate(objects):
        hits = right[bounds[index] : bounds[index + 1]]
        if total > 0 and hits.any():
            found[index] = average_precision(hits, int(total))
    return found


def average_precision(right: np.ndarray, objects: int) -> float:
    """COCO's AP at one threshold, the mean of the precision at 101 recalls.

    Args:
        right: (n,) bool, whether each detection is right, best score first; at least one.
        objects: how many there are.
    """
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / objects, RECALLS, side="left")
    return float(np.where(places < len(hits), precision[np.minimum(places, len(hits) - 1)], 0.0).mean())
