"""Analysis of a detector's errors from a results file, as plain numbers for a json file.

TIDE's errors by size and class (`evaluation.errors`), precision over recall, confusion of classes, and the worst
images.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from querydet.data.catalog import DetectionDataset, class_names
from querydet.evaluation.coco_backend import CocoBackend, Curves
from querydet.evaluation.coco_evaluation import limits, percent
from querydet.evaluation.coco_truth import CocoTruth
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
from querydet.utils.run_lengths import RunLengths

Progress = Callable[[Iterable[Any]], Iterable[Any]]
NOTHING = "background"  # the last row and column of the confusion matrix


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the error analysis.

    Args:
        positive: smallest IoU of a right detection with its object.
        background: largest IoU of a background detection with any object.
        min_score: detections with a lower score are left out of the confusion matrix and of the worst images.
        max_dets: number of detections that count, per image and class.
        worst: number of worst images to list.

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
    masks: Mapping[Any, Sequence[RunLengths]] | None = None,
) -> dict[str, Any]:
    """Analyse the errors of detections.

    Args:
        dataset: the loaded data set.
        rows: detections by image id, from `results_file.read_results`.
        settings: of the analysis; None: the defaults.
        progress: wraps the images for a progress bar, such as `tqdm`.
        masks: of the detections by image id, if masks are compared and not boxes; the data set has some then.

    Returns:
        `sizes` and `classes` with `AP` at the positive IoU, `objects`, `detections`, and by error the `gain` in AP and
        the `counts`; `coco`, the twelve metrics; `curves` of precision; `confusion`; `worst` images. AP and gains are
        in percent, -1 without objects.

    Raises:
        ValueError: the data set has no images, or no masks to compare masks with.
    """
    settings = settings or Settings()
    if not len(dataset):
        raise ValueError("the data set has no images")
    names, truth = class_names(dataset), _truth(dataset, need_masks=masks is not None)
    errors_by_size: dict[str, list[ImageErrors]] = {name: [] for name in SIZES}
    matrix = np.zeros((len(names) + 1, len(names) + 1), dtype=np.int64)
    images = []
    for record in progress(sorted(dataset, key=_image_id)):
        image_id = record["image_id"]
        objects = Objects.of(image_truth(record), None if masks is None else truth.masks[image_id])
        detections = rows.get(image_id, np.zeros((0, 6)))
        detected_masks = None if masks is None else masks.get(image_id, ())
        for name, size in SIZES.items():
            errors_by_size[name].append(_errors(detections, objects, settings, size, detected_masks))
        shown = shown_errors(detections, objects, settings, detected_masks)
        matrix += confusion(shown.rows, objects, len(names), settings.positive, shown.masks)
        images.append(_image(record, shown))
    costs = {name: cost_of_errors(errors, len(names)) for name, errors in errors_by_size.items()}
    backend = CocoBackend()
    curves = truth.evaluate(backend, rows, limits(settings.max_dets), masks=masks)
    overall = costs["all"]
    return {
        "settings": {name: getattr(settings, name) for name in ("positive", "background", "min_score", "max_dets")},
        "iou_type": "bbox" if masks is None else "segm",
        "data_set": dataset.name,
        "images": len(dataset),
        "backend": {"name": backend.name, "version": backend.version},
        "coco": {name: percent(value) for name, value in curves.twelve().items()},
        "sizes": {name: _summary(cost) for name, cost in costs.items()},
        "classes": {name: _class_summary(overall, index, curves) for index, name in enumerate(names)},
        "curves": _curves(curves, names),
        "confusion": {"labels": [*names, NOTHING], "matrix": matrix.tolist()},
        "worst": sorted(images, key=_badness, reverse=True)[: settings.worst],
    }


def _truth(dataset: DetectionDataset, need_masks: bool) -> CocoTruth:
    truth = CocoTruth(dataset)
    if need_masks and not truth.has_masks:
        raise ValueError(f"data set '{dataset.name}' was loaded without masks: load it with masks=True")
    return truth


def shown_errors(
    detections: np.ndarray, objects: Objects, settings: Settings, masks: Sequence[RunLengths] | None = None
) -> ImageErrors:
    """Find the errors of an image among the detections with at least the score `min_score`; of masks, if given."""
    shown = detections[:, 4] >= settings.min_score
    masks = None if masks is None else list(itertools.compress(masks, shown.tolist()))
    return _errors(detections[shown], objects, settings, SIZES["all"], masks)


def _errors(
    detections: np.ndarray,
    objects: Objects,
    settings: Settings,
    size: Range,
    masks: Sequence[RunLengths] | None,
) -> ImageErrors:
    return find_errors(
        detections,
        objects,
        positive=settings.positive,
        background=settings.background,
        max_dets=settings.max_dets,
        size=size,
        masks=masks,
    )


def confusion(
    rows: np.ndarray,
    objects: Objects,
    num_classes: int,
    positive: float,
    masks: Sequence[RunLengths] | None = None,
) -> np.ndarray:
    """Count confusions of classes in one image.

    In descending order of score, a detection is matched with the unmatched object of any class with the highest IoU, if
    that is at least `positive`. An unmatched detection counts as background, or is ignored inside of a crowd region of
    its class.

    Args:
        rows: (n, 6) detections in descending order of score.
        objects: the annotations.
        num_classes: K.
        positive: smallest IoU of a match.
        masks: n of the detections, if masks are compared.

    Returns:
        (K + 1, K + 1) int64: objects by class, then background, in rows; detections by class, then missed, in columns.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    classless = replace(objects, labels=np.zeros_like(objects.labels))
    classless_rows = rows.copy()
    classless_rows[:, 5] = 0
    errors = find_errors(classless_rows, classless, positive=positive, max_dets=max(1, len(rows)), masks=masks)
    labels = rows[:, 5].astype(np.int64)
    own = find_errors(rows, objects, positive=positive, max_dets=max(1, len(rows)), masks=masks)
    in_own_crowd = own.kinds == Kind.IGNORED
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
    """Summarise the errors of an image; its badness: missed objects plus the scores of wrong detections."""
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
    """Return precision at 101 recalls: by IoU as the mean over classes with objects, and for each class at IoU 0.5."""
    precision = curves.precision[..., 0, -1]  # IoU, recall, class
    known = precision[0].max(axis=0, initial=-1) > -1
    chosen = {"0.50": precision[0], "0.75": precision[5], "0.50:0.95": precision.mean(axis=0)}
    by_iou = {name: values[:, known].mean(axis=1).tolist() if known.any() else [] for name, values in chosen.items()}
    by_class = {name: precision[0, :, index].tolist() for index, name in enumerate(names) if known[index]}
    return {"recall": RECALLS.tolist(), "iou": by_iou, "classes": by_class}
