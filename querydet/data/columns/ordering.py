"""Rows of annotations in the order of their images, without holding more than some of them in memory."""

import os
from collections.abc import Iterator

import numpy as np

from querydet.data.columns.collect import CHUNK, Collected, read_rows
from querydet.data.columns.files import ColumnWriter, column_path
from querydet.data.columns.ids import SortedIds
from querydet.data.columns.rows import ANNOTATION

Part = tuple[np.ndarray, np.ndarray]


def rows_by_image(found: Collected) -> Iterator[Part]:
    """Yield rows and the positions of their images, ascending; rows of an image stay in the order of the json.

    Rows that are not in order are first distributed to files, each for as many images as have about `CHUNK` rows.

    Args:
        found: of which every row refers to an image.

    Yields:
        Rows of `ANNOTATION` and positions (n,); once without rows, if there are none.
    """
    ids = SortedIds(found.images["id"])
    last, total, is_sorted = 0, 0, True
    for rows in found.chunks():
        image = ids.positions(rows["image_id"])
        is_sorted = is_sorted and image[0] >= last and bool((image[1:] >= image[:-1]).all())
        last, total = int(image[-1]), total + len(rows)
    if not total:
        yield np.zeros(0, ANNOTATION), np.zeros(0, np.int64)
    parts = found.chunks() if is_sorted else _distributed(found, ids, total)
    for rows in parts:
        image = ids.positions(rows["image_id"])
        order = np.argsort(image, kind="stable")
        yield rows[order], image[order]


def _distributed(found: Collected, ids: SortedIds, total: int) -> Iterator[np.ndarray]:
    """Yield the rows of some images at a time, in the order of the json."""
    num_parts = -(-total // CHUNK)
    counts = np.zeros(len(found.images), np.int64)
    for rows in found.chunks():
        counts += np.bincount(ids.positions(rows["image_id"]), minlength=len(counts))
    part_of_image = np.minimum(np.cumsum(counts) * num_parts // (total + 1), num_parts - 1)
    with ColumnWriter(found.folder) as writer:
        for rows in found.chunks():
            part_of_row = part_of_image[ids.positions(rows["image_id"])]
            order = np.argsort(part_of_row, kind="stable")
            for number, piece in _runs(part_of_row[order], rows[order]):
                writer.append(f"part{number}", piece)
    for number in range(num_parts):
        path = column_path(found.folder, f"part{number}")
        if os.path.isfile(path):
            pieces = list(read_rows(path))
            os.remove(path)
            yield np.concatenate(pieces)


def _runs(numbers: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of every number; the numbers ascend."""
    values, starts = np.unique(numbers, return_index=True)
    yield from zip(values.tolist(), np.split(rows, starts[1:]), strict=True)
