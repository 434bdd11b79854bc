"""Detections from a file in COCO's results format, validated against their data set."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.coco_truth import category_ids
from querydet.evaluation.detections_file import RESULTS_FILE
from querydet.evaluation.image_detections import ImageDetections
from querydet.utils.plain_json import parse_json
from querydet.utils.run_lengths import RunLengths, checked

logger = logging.getLogger(__name__)

RUN_FOLDERS = ("", "inference")  # subfolders of a run that may have it
SHOWN = 5  # number of problems of a kind that an error lists
MOST_SHOWN = 120  # characters of each


def find_results(path: str) -> str:
    """Find the results file of a run's folder; the path of a file is returned unchanged.

    Raises:
        FileNotFoundError: there is none; the message says how to make one.
    """
    if not os.path.isdir(path):
        if os.path.isfile(path):
            return path
        raise FileNotFoundError(f"{path} does not exist: give a {RESULTS_FILE}, or the folder of a run that has one")
    for folder in RUN_FOLDERS:
        candidate = os.path.join(path, folder, RESULTS_FILE)
        if os.path.isfile(candidate):
            return candidate
    config = os.path.join(path, "config.yaml")
    source = config if os.path.isfile(config) else "CONFIG"
    raise FileNotFoundError(
        f"{path} has no {RESULTS_FILE}: write one with\n  python train_net.py --config-file {source} --eval-only "
        f"train.init_checkpoint={os.path.join(path, 'model_final.pth')} "
        f"dataloader.evaluator.output_dir={os.path.join(path, RUN_FOLDERS[1])}"
    )


def read_results(path: str, dataset: DetectionDataset) -> dict[Any, np.ndarray]:
    """Read detections and validate them.

    Detections that are not finite are left out with a warning, as in `evaluation.CocoEvaluator`. Another warning counts
    boxes outside of their images, which happen if detection was run on images of another size.

    Args:
        path: of a json file with a list of `image_id, category_id, bbox (x, y, w, h), score`; an entry with a mask as
            `segmentation` and no box has the box around the mask.
        dataset: the loaded data set.

    Returns:
        Detections by image id, (n, 6) float64: x, y, w, h, score, class index; images without detections are left out.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not in that format, or has images or categories that the data set does not have, scores
            outside of [0, 1] or boxes of negative size; the message lists the first of each.
    """
    return {image_id: image.rows for image_id, image in _read(path, _Checks(dataset, masks=False)).items()}


def read_detections(path: str, dataset: DetectionDataset) -> dict[Any, ImageDetections]:
    """Read detections with their masks and validate both; see `read_results`.

    Returns:
        Detections by image id, with masks if the file has a `segmentation` in every entry.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: as for `read_results`, or masks are no run lengths of the size of their image, or some entries have
            masks and others none.
    """
    return _read(path, _Checks(dataset, masks=True))


def _read(path: str, checks: "_Checks") -> dict[Any, ImageDetections]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"results file {path} does not exist")
    try:
        with open(path, encoding="utf-8") as file:
            content = parse_json(file.read())
    except ValueError as error:
        raise ValueError(f"{path} is not json: {error}") from error
    if not isinstance(content, list):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, not a list of detections (image_id, category_id, bbox, score); "
            "annotations belong to --annotations"
        )
    found: dict[Any, list[_Detection]] = {}
    for position, entry in enumerate(content):
        detection = checks.detection(position, entry)
        if detection is not None:
            found.setdefault(entry["image_id"], []).append(detection)
    checks.report(path, len(content))
    return {image_id: _joined(detections) for image_id, detections in found.items()}


class _Detection(NamedTuple):
    """One detection of a file: x, y, w, h, score, class index, and its mask if that was asked for."""

    row: list[float]
    mask: RunLengths | None


def _joined(detections: Sequence[_Detection]) -> ImageDetections:
    masks = [detection.mask for detection in detections if detection.mask is not None]
    rows = np.array([detection.row for detection in detections], dtype=np.float64)
    return ImageDetections(rows, masks=masks or None)


class _Checks:
    """Converts entries to detections and collects problems.

    Args:
        dataset: what the entries have to fit.
        masks: whether to read masks where there are boxes, too.
    """

    def __init__(self, dataset: DetectionDataset, masks: bool) -> None:
        self._masks = masks
        self._with_mask = 0
        self._without_mask: list[str] = []
        self._sizes = {record["image_id"]: (record["width"], record["height"]) for record in dataset}
        self._classes = {identifier: index for index, identifier in enumerate(category_ids(dataset))}
        self._problems: dict[str, list[str]] = {}
        self._nonfinite = self._outside = 0

    def detection(self, position: int, entry: Any) -> _Detection | None:
        """Convert an entry to a detection; None if it cannot be used."""
        values = _numbers(entry)
        if values is None:
            self._problem("are not detections with image_id, category_id, bbox and score", position, repr(entry)[:80])
            return None
        if not _hashable(entry["image_id"]) or entry["image_id"] not in self._sizes:
            self._problem("are for images that the data set does not have", position, f"{entry['image_id']!r}")
            return None
        if not _hashable(entry["category_id"]) or entry["category_id"] not in self._classes:
            known = ", ".join(str(identifier) for identifier in list(self._classes)[:SHOWN])
            shown = f"{entry['category_id']!r}"
            self._problem(f"have categories that the data set does not have (it has {known}, ...)", position, shown)
            return None
        if not all(math.isfinite(value) for value in values):
            self._nonfinite += 1
            return None
        *box, score = values
        mask = None
        if not box or (self._masks and _has_mask(entry)):
            mask = self._mask(position, entry)
            if mask is None:
                return None
            box = box or coco_mask.toBbox(mask).tolist()
        if not 0 <= score <= 1:
            self._problem("have scores outside [0, 1]: scores are probabilities", position, f"{score:g}")
            return None
        if box[2] < 0 or box[3] < 0:
            self._problem("have boxes of negative size: a bbox is x, y, width, height", position, str(box))
            return None
        width, height = self._sizes[entry["image_id"]]
        self._outside += box[0] >= width or box[1] >= height or box[0] + box[2] <= 0 or box[1] + box[3] <= 0
        if mask is None:
            self._without_mask.append(f"entry {position}")
        self._with_mask += mask is not None
        row = [*box, score, float(self._classes[entry["category_id"]])]
        return _Detection(row, mask if self._masks else None)

    def _mask(self, position: int, entry: Mapping[str, Any]) -> RunLengths | None:
        width, height = self._sizes[entry["image_id"]]
        try:
            return checked(entry["segmentation"], height, width)
        except ValueError as error:
            self._problem("have masks that cannot be used", position, str(error))
            return None

    def _problem(self, kind: str, position: int, shown: str) -> None:
        self._problems.setdefault(kind, []).append(f"entry {position}: {shown[:MOST_SHOWN]}")

    def report(self, path: str, entries: int) -> None:
        """Raise an error with all problems, or warn."""
        if self._masks and self._with_mask and self._without_mask:
            self._problems["have no mask (segmentation), but others have one"] = self._without_mask
        if self._problems:
            lines = [f"{path} does not fit the data set:"]
            for kind, places in self._problems.items():
                more = "; ..." if len(places) > SHOWN else ""
                lines.append(f"  {len(places)} of {entries} entries {kind} ({'; '.join(places[:SHOWN])}{more})")
            raise ValueError("\n".join(lines))
        if self._nonfinite:
            logger.warning("%s: left out %d of %d detections, which are not finite", path, self._nonfinite, entries)
        if self._outside:
            logger.warning(
                "%s: %d of %d boxes lie outside of their images: were they found on images of another size?",
                path,
                self._outside,
                entries,
            )
        if not entries:
            logger.warning("%s has no detections", path)


def _numbers(entry: Any) -> list[float] | None:
    """Return box and score of an entry, the score alone if it has a mask and no box; None if it is no detection."""
    if not isinstance(entry, Mapping) or not {"image_id", "category_id", "score"} <= entry.keys():
        return None
    box = entry.get("bbox", [] if _has_mask(entry) else None)
    if not isinstance(box, Sequence) or isinstance(box, str) or len(box) != (4 if "bbox" in entry else 0):
        return None
    values = [*box, entry["score"]]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    return [float(value) for value in values]


def _has_mask(entry: Mapping[str, Any]) -> bool:
    return entry.get("segmentation") not in (None, [])  # some programs write an empty list for boxes


def _hashable(value: Any) -> bool:
    return isinstance(value, int | float | str)  # 1.0 is found as 1, as by pycocotools
