"""Outlines of a large json: read and checked some at a time, and kept as bytes in a column."""

import json
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from querydet.data.columns.collect import OUTLINES, Collected
from querydet.data.columns.files import column_path
from querydet.data.columns.rows import NO_BOX
from querydet.data.mask_checks import OutlineReader
from querydet.data.masks import Segmentation
from querydet.data.problem_report import ProblemReport

AT_ONCE = 5_000  # annotations whose outlines are in memory


class ReadOutlines(NamedTuple):
    """The outlines of some rows.

    Args:
        kept: (n,) bool, False for objects that are dropped.
        boxes: (n, 4) those of the rows, or of their outlines where they have none.
        encoded: bytes of the outline of every object, kept or not.
    """

    kept: np.ndarray
    boxes: np.ndarray
    encoded: Sequence[bytes]


class OutlinePass:
    """Reads the outlines of rows.

    Args:
        found: from `collect`, with outlines.
        reader: decides what becomes of each object; has what was repaired afterwards.
        report: gets what stops the run.
    """

    def __init__(self, found: Collected, reader: OutlineReader, report: ProblemReport) -> None:
        self._reader, self._report = reader, report
        self._problems = _PlacedProblems()
        self._path = column_path(found.folder, OUTLINES)
        self._images = found.images
        lengths = np.fromfile(column_path(found.folder, "name_length"), np.int64)
        self._name_start = np.concatenate([[0], np.cumsum(lengths)])
        self._names = np.fromfile(column_path(found.folder, "name"), np.uint8)

    @property
    def repairs(self) -> dict[str, list[int]]:
        """Return the ids of annotations by kind of repair."""
        return self._reader.repairs

    def read(self, rows: np.ndarray, image: np.ndarray) -> ReadOutlines:
        """Read the outlines of rows.

        Args:
            rows: (n,) `ANNOTATION`.
            image: (n,) positions of their images.
        """
        boxes, kept, encoded = np.array(rows["box"]), np.zeros(len(rows), bool), list[bytes]()
        for start in range(0, len(rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            self._read_some(rows[part], image[part], boxes[part], kept[part], encoded)
        return ReadOutlines(kept, boxes, encoded)

    def _read_some(
        self, rows: np.ndarray, image: np.ndarray, boxes: np.ndarray, kept: np.ndarray, encoded: list[bytes]
    ) -> None:
        images = [self._image(number) for number in np.unique(image)]
        entries, places = self._entries(rows), rows["outline"][:, 0].tolist()
        self._reader.read_entries(images, self._problems.placed(entries, places), self._problems)
        for number, (entry, place) in enumerate(zip(entries, places, strict=True)):
            outline = self._reader.segmentations.pop(entry["id"], None)
            kept[number] = outline is not None
            encoded.append(encode(outline) if outline is not None else b"")
            given = self._reader.boxes.pop(entry["id"], None)
            if given is not None:
                boxes[number] = given
            elif not entry["bbox"]:
                where = f"annotation {entry['id']} ({entry['bbox']})"
                self._problems.add_box(place, "bbox is not a list of four numbers", where)

    def report_problems(self) -> None:
        """Report the problems of all rows that were read, in the order of the file."""
        self._problems.report_to(self._report)

    def _entries(self, rows: np.ndarray) -> list[dict[str, Any]]:
        entries = []
        with open(self._path, "rb") as file:
            for row in rows:
                place, length = row["outline"].tolist()
                entries.append(
                    {
                        "id": int(row["id"]),
                        "image_id": int(row["image_id"]),
                        "bbox": NO_BOX[row["boxless"]] if row["boxless"] else row["box"].tolist(),
                        "iscrowd": int(row["crowd"]),
                        "segmentation": json.loads(os.pread(file.fileno(), length, place)),
                    }
                )
        return entries

    def _image(self, number: int) -> dict[str, Any]:
        row = self._images[number]
        start, stop = self._name_start[number : number + 2]
        name = self._names[start:stop].tobytes().decode(errors="replace")
        return {"id": int(row["id"]), "width": int(row["width"]), "height": int(row["height"]), "file_name": name}


class _PlacedProblems(ProblemReport):
    """Problems with their places in the file: rows are read image by image, but reported in the order of the file."""

    def __init__(self) -> None:
        super().__init__("")
        self._place = 0
        self._outlines: list[tuple[int, str, str]] = []
        self._boxes: list[tuple[int, str, str]] = []  # which come after all outlines

    def placed(self, entries: Sequence[Any], places: Sequence[int]) -> Iterator[Any]:
        """Yield entries; what is added until the next one has the place of this one."""
        for entry, self._place in zip(entries, places, strict=True):
            yield entry

    def add(self, kind: str, where: str) -> None:
        """Add a problem of the current entry."""
        self._outlines.append((self._place, kind, where))

    def add_box(self, place: int, kind: str, where: str) -> None:
        """Add a problem of a box."""
        self._boxes.append((place, kind, where))

    def report_to(self, report: ProblemReport) -> None:
        """Report all problems."""
        for problems in (self._outlines, self._boxes):
            for _, kind, where in sorted(problems, key=lambda problem: problem[0]):
                report.add(kind, where)


def encode(outline: Segmentation) -> bytes:
    """Return an outline as bytes: polygons as their number, their lengths and all coordinates; run lengths as json."""
    if isinstance(outline, dict):
        return b"R" + json.dumps(outline).encode()
    lengths = [len(polygon) for polygon in outline]
    head = b"P" + struct.pack(f"<{len(lengths) + 1}i", len(lengths), *lengths)
    return head + b"".join(np.asarray(polygon, "<f8").tobytes() for polygon in outline)


def decode(data: bytes) -> Segmentation:
    """Return the outline of bytes of `encode`."""
    if data[:1] == b"R":
        run_lengths: Segmentation = json.loads(data[1:])
        return run_lengths
    (count,) = struct.unpack_from("<i", data, 1)
    lengths = struct.unpack_from(f"<{count}i", data, 5)
    numbers = np.frombuffer(data, "<f8", offset=5 + 4 * count).copy()
    return np.split(numbers, np.cumsum(lengths)[:-1])
