"""Everything that a results file says about a detector's errors, as plain numbers that go into a json file.

TIDE's errors by size and class (`querydet.evaluation.errors`), precision over recall, which classes are taken for
which, and the worst images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from querydet.data.catalog import DetectionDataset, class_names
from querydet.evaluation.coco_backend import CocoBackend, Curves
from querydet.evaluation.coco_evaluation import CocoTruth, limits, percent
from querydet.evaluation.error_costs import RECALLS, SPECIAL, Costs, cost_of_errors
from querydet.evaluation.errors import (
    BACKGROUND,
    ERRORS,
    POSITIVE,
    SIZES,
    ImageErrors,
    Kind,
    Objects,
    Range,
    find_errors,
)
from querydet.evaluation.labelling import check_fraction
from querydet.evaluation.per_image import image_truth

Progress = Callable[[Iterable[Any]], Iterable[Any]]
NOTHING = "background"  # the last row and column of the confusion matrix


@dataclass(frozen=True, slots=True)
class Settings:
    """How to look at errors.

    Args:
        positive: IoU from which a detection has found an object.
        background: IoU up to which a detection has nothing to do with an object.
        min_score: detections below are left out of the confusion matrix and of the worst images.
        max_dets: detections of an image and class that count.
        worst: how many of the worst images to list.

    Raises:
        ValueError: a number is out of its range.
    """

    positive: float = POSITIVE
    background: float = BACKGROUND
    min_score: float = 0.3
    max_dets: int = 100
    worst: int = 12

    def __post_init__(self) -> None:
        check_fraction("min_score", self.min_score)
        if not 0 <= self.background < self.positive <= 1:
            raise ValueError(
                "the IoU thresholds must be 0 <= background < positive <= 1, got background "
                f"{self.background} and positive {self.positive}"
            )
        if self.max_dets < 1 or self.worst < 0:
            raise ValueError(f"max_dets must be at least 1 and worst at least 0, got {self.max_dets} and {self.worst}")


def analyze_errors(
    dataset: DetectionDataset,
    rows: Mapping[Any, np.ndarray],
    settings: Settings | None = None,
    progress: Progress = iter,
) -> dict[str, Any]:
    """Analyses detections.

    Args:
        dataset: the loaded data set.
        rows: detections by image id, of `querydet.evaluation.results_file.read_results`.
        settings: how to look at them.
        progress: wraps the images while they are looked at, such as ``tqdm``.

    Returns:
        ``sizes`` and ``classes`` with ``AP`` at the positive IoU, ``objects``, ``detections``, and by error ``gain`` of
        AP and ``counts``; ``coco``, the twelve numbers; ``curves`` of precision; ``confusion``; ``worst`` images. AP
        and gains in percent, -1 without objects.

    Raises:
        ValueError: the data set has no images.
    """
    settings = settings or Settings()
    if not len(dataset):
        raise ValueError("the data set has no images")
    names = class_names(dataset)
    found: dict[str, list[ImageErrors]] = {name: [] for name in SIZES}
    matrix = np.zeros((len(names) + 1, len(names) + 1), dtype=np.int64)
    images = []
    for record in progress(sorted(dataset, key=_image_id)):
        objects = Objects.of(image_truth(record))
        detections = rows.get(record["image_id"], np.zeros((0, 6)))
        for name, size in SIZES.items():
            found[name].append(_errors(detections, objects, settings, size))
        shown = shown_errors(detections, objects, settings)
        matrix += confusion(shown.rows, objects, len(names), settings.positive)
        images.append(_image(record, shown))
    costs = {name: cost_of_errors(each, len(names)) for name, each in found.items()}
    backend = CocoBackend()
    curves = CocoTruth(dataset).evaluate(backend, dict(rows), limits(settings.max_dets))
    every = costs["all"]
    return {
        "settings": {name: getattr(settings, name) for name in ("positive", "background", "min_score", "max_dets")},
        "data_set": dataset.name,
        "images": len(dataset),
        "backend": {"name": backend.name, "version": backend.version},
        "coco": {name: percent(value) for name, value in curves.twelve().items()},
        "sizes": {name: _summary(each) for name, each in costs.items()},
        "classes": {name: _class_summary(every, index, curves) for index, name in enumerate(names)},
        "curves": _curves(curves, names),
        "confusion": {"labels": [*names, NOTHING], "matrix": matrix.tolist()},
        "worst": sorted(images, key=_badness, reverse=True)[: settings.worst],
    }


def shown_errors(detections: np.ndarray, objects: Objects, settings: Settings) -> ImageErrors:
    """The errors of an image as somebody sees them who looks at detections from the smallest score on."""
    return _errors(detections[detections[:, 4] >= settings.min_score], objects, settings, SIZES["all"])


def _errors(detections: np.ndarray, objects: Objects, settings: Settings, size: Range) -> ImageErrors:
    return find_errors(
        detections,
        objects,
        positive=settings.positive,
        background=settings.background,
        max_dets=settings.max_dets,
        size=size,
    )


def confusion(rows: np.ndarray, objects: Objects, num_classes: int, positive: float) -> np.ndarray:
    """Which classes are taken for which in one image.

    By falling score, a detection takes the free object of any class that it overlaps most, if the IoU is at least
    ``positive``; one that takes none counts as found on the background, or not at all inside a crowd region of its
    class.

    Args:
        rows: (n, 6) detections by falling score.
        objects: the annotations.
        num_classes: K.
        positive: the IoU.

    Returns:
        (K + 1, K + 1) int64: objects by class, then background, in rows; detections by class, then missed, in columns.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    plain = Objects(objects.boxes, np.zeros_like(objects.labels), objects.areas, objects.crowd)
    blind = rows.copy()
    blind[:, 5] = 0
    errors = find_errors(blind, plain, positive=positive, max_dets=max(1, len(rows)))
    labels = rows[:, 5].astype(np.int64)
    in_own_crowd = find_errors(rows, objects, positive=positive, max_dets=max(1, len(rows))).kinds == Kind.IGNORED
    for index, kind in enumerate(errors.kinds):
        if kind == Kind.RIGHT:
            matrix[objects.labels[errors.targets[index]], labels[index]] += 1
        elif not in_own_crowd[index]:
            matrix[num_classes, labels[index]] += 1
    np.add.at(matrix, (objects.labels[errors.asked & ~errors.found], num_classes), 1)
    return matrix


def _image_id(record: dict[str, Any]) -> Any:
    return record["image_id"]


def _image(record: dict[str, Any], errors: ImageErrors) -> dict[str, Any]:
    """How wrong an image is: its missed objects and the scores of its wrong detections, added up."""
    wrong = errors.kinds >= Kind.CLASSIFICATION
    counts = {name: int((errors.kinds == Kind[name.upper()]).sum()) for name in ERRORS[:-1]}
    counts["missed"] = int(errors.missed.sum())
    return {
        "image_id": record["image_id"],
        "file_name": record["file_name"],
        "badness": counts["missed"] + float(errors.rows[wrong, 4].sum()),
        "objects": int(errors.asked.sum()),
        "right": int((errors.kinds == Kind.RIGHT).sum()),
        "counts": counts,
    }


def _badness(image: dict[str, Any]) -> float:
    return image["badness"]


def _summary(costs: Costs) -> dict[str, Any]:
    return {
        "AP": percent(costs.mean_ap()),
        "objects": int(costs.objects.sum()),
        "detections": int(costs.detections.sum()),
        "gain": {name: percent(costs.gain(name)) for name in (*ERRORS, *SPECIAL)},
        "counts": {name: int(costs.counts[name].sum()) for name in ERRORS},
    }


def _class_summary(costs: Costs, index: int, curves: Curves) -> dict[str, Any]:
    known = costs.objects[index] > 0
    gains = {name: 100 * costs.class_gain(name, index) if known else -1.0 for name in (*ERRORS, *SPECIAL)}
    return {
        "AP": percent(float(costs.ap[index])) if known else -1.0,
        "AP50:95": percent(curves.per_class()[index]),
        "objects": int(costs.objects[index]),
        "detections": int(costs.detections[index]),
        "gain": gains,
        "counts": {name: int(costs.counts[name][index]) for name in ERRORS},
    }


def _curves(curves: Curves, names: Sequence[str]) -> dict[str, Any]:
    """Precision at 101 recalls: the mean over the classes that have objects by IoU, and of each class at 0.5."""
    precision = curves.precision[..., 0, -1]  # IoU, recall, class
    known = precision[0].max(axis=0, initial=-1) > -1
    chosen = {"0.50": precision[0], "0.75": precision[5], "0.50:0.95": precision.mean(axis=0)}
    by_iou = {name: values[:, known].mean(axis=1).tolist() if known.any() else [] for name, values in chosen.items()}
    by_class = {name: precision[0, :, index].tolist() for index, name in enumerate(names) if known[index]}
    return {"recall": RECALLS.tolist(), "iou": by_iou, "classes": by_class}
