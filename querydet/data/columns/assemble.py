"""Rows of a checked json to the columns of its records: boxes repaired, objects sorted by image."""

import collections
import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from querydet.data.categories import Classes
from querydet.data.coco_checks import ROUNDING_PX, repair_box
from querydet.data.coco_records import MAX_AREA
from querydet.data.columns.collect import Collected
from querydet.data.columns.files import ColumnWriter, Layout, column_path
from querydet.data.columns.ordering import rows_by_image
from querydet.data.columns.outlines import OutlinePass
from querydet.data.columns.rows import INT64


class Assembled(NamedTuple):
    """What became of the rows.

    Args:
        layout: of the columns.
        repairs: ids of repaired annotations by kind, see `coco_records.REPAIRS`.
        ignored: annotations that are marked with `ignore`.
        objects: that are left.
        crowds: of these.
        outline_repairs: ids of annotations by kind, see `mask_checks.MASK_REPAIRS`.
    """

    layout: Layout
    repairs: Mapping[str, list[int]]
    ignored: int
    objects: int
    crowds: int
    outline_repairs: Mapping[str, list[int]]


def assemble(found: Collected, classes: Classes, folder: str, outlines: OutlinePass | None = None) -> Assembled:
    """Write the columns of `ColumnRecords`.

    Args:
        found: from `collect`, without problems.
        classes: of the data set.
        folder: of the columns.
        outlines: reads the outlines, where masks are used.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    repairs: dict[str, list[int]] = collections.defaultdict(list)
    images = found.images
    counts = np.zeros(len(images), np.int64)
    objects = crowds = ignored = 0
    outline_bytes = 0
    with ColumnWriter(folder) as writer:
        _write_images(found, classes, writer)
        to_class = _class_table(classes)
        for part, image in rows_by_image(found):
            read = None if outlines is None else outlines.read(part, image)
            given = part["box"] if read is None else read.boxes
            boxes, kept, clipped = _repair(given, part["id"], images[image], repairs)
            if read is not None:
                kept &= read.kept
                encoded = list(itertools.compress(read.encoded, kept.tolist()))
                writer.append("outline", np.frombuffer(b"".join(encoded), np.uint8))
                starts = outline_bytes + _starts([*map(len, encoded)])
                writer.append("outline_start", starts[:-1])
                outline_bytes = int(starts[-1])
            counts += np.bincount(image[kept], minlength=len(images))
            objects, crowds = objects + int(kept.sum()), crowds + int(part["crowd"][kept].sum())
            ignored += int(part["ignored"].sum())
            _write_objects(part[kept], boxes[kept], clipped[kept], to_class, writer)
        writer.append("image_start", _starts(counts))
        if outlines is not None:
            outlines.report_problems()
            writer.append("outline_start", np.array([outline_bytes], "<i8"))
    return Assembled(writer.layout, repairs, ignored, objects, crowds, {} if outlines is None else outlines.repairs)


def _starts(lengths: ArrayLike) -> np.ndarray:
    """Return where ranges of some lengths begin, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")


def _class_table(classes: Classes) -> tuple[np.ndarray, np.ndarray]:
    """Return category ids, sorted, and the class index of each; no annotation has an id of more than 64 bits."""
    ids = sorted(number for number in classes.index_of if -INT64 <= number < INT64)
    dtype = "<u2" if len(classes.names) <= 2**16 else "<u4"
    return np.array(ids, np.int64), np.array([classes.index_of[number] for number in ids], dtype)


def _write_images(found: Collected, classes: Classes, writer: ColumnWriter) -> None:
    images = found.images
    writer.append("image_id", images["id"].astype("<i8"))
    writer.append("size", np.stack([images["height"], images["width"]], axis=1).astype("<i4"))
    names = np.fromfile(column_path(found.folder, "name"), np.uint8)
    lengths = np.fromfile(column_path(found.folder, "name_length"), np.int64)
    writer.append("name", names)
    writer.append("name_start", _starts(lengths))
    for key, values in found.list_values.items():
        lists = [
            sorted({classes.index_of[n] for n in map(int, ids if ids is not None else ()) if n in classes.index_of})
            for ids in values
        ]
        writer.append(key, np.array([number for numbers in lists for number in numbers], "<i4"))
        writer.append(f"{key}_start", _starts([*map(len, lists)]))


def _repair(
    annotated: np.ndarray, ids: np.ndarray, images: np.ndarray, repairs: dict[str, list[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repair boxes as `repair_box`, which is only called for those that need it.

    Returns:
        Boxes (n, 4), which of them are kept, and which were changed.
    """
    boxes = np.array(annotated)
    x, y, w, h = boxes.T
    width, height = images["width"].astype(np.float64), images["height"].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        right, bottom = x + w, y + h
        fine = np.isfinite(boxes).all(axis=1) & np.isfinite(right) & np.isfinite(bottom) & (w > 0) & (h > 0)
        fine &= (x < width) & (y < height) & (right > 0) & (bottom > 0) & (right > x) & (bottom > y)
        fine &= np.maximum(right - width, bottom - height) <= ROUNDING_PX
        fine &= np.minimum(x, y) >= -ROUNDING_PX
    kept, clipped = np.ones(len(ids), bool), np.zeros(len(ids), bool)
    for number in np.flatnonzero(~fine):
        box, repair = repair_box(boxes[number].tolist(), int(images["width"][number]), int(images["height"][number]))
        kept[number], clipped[number] = box is not None, bool(repair)
        if box is not None:
            boxes[number] = box
        if repair:
            repairs[repair].append(int(ids[number]))
    return boxes, kept, clipped


def _write_objects(
    rows: np.ndarray, boxes: np.ndarray, clipped: np.ndarray, to_class: tuple[np.ndarray, np.ndarray], out: ColumnWriter
) -> None:
    ids, classes = to_class
    area = np.array(rows["area"])
    with np.errstate(invalid="ignore"):
        annotated = (area > 0) & (area < MAX_AREA) & ~clipped
    out.append("box", boxes.astype("<f8"))
    out.append("area", np.where(annotated, area, boxes[:, 2] * boxes[:, 3]).astype("<f8"))
    out.append("category", classes[np.searchsorted(ids, rows["category_id"])])
    out.append("crowd", rows["crowd"].astype("u1"))
    out.append("annotation_id", rows["id"].astype("<i8"))
