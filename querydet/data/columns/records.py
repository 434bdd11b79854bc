"""Dataset dicts made from columns when they are asked for: the same dicts as those of a json in memory."""

import itertools
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from detectron2.structures import BoxMode

from querydet.data.columns.files import ColumnsError, Layout, open_columns
from querydet.data.columns.outlines import decode
from querydet.data.columns.sealed import read_sealed
from querydet.data.mask_targets import HAS_MASKS

DESCRIPTION = "columns.json"  # what the columns are, beside them
STORED = {"id": "annotation_id", "category_id": "category", "bbox": "box", "iscrowd": "crowd"}


class ColumnRecords(Sequence[dict[str, Any]]):
    """The records of columns, which all processes share in the file cache; pickled as the path of the columns.

    `records[i]` reads one record from the disk. `column` maps a whole column into memory.

    Columns of images, N of them: `image_id`, `size` (N, 2) height and width, `image_start` (N + 1,) first object of
    each, `name` and `name_start` (N + 1,) file names in UTF-8, and for each list of categories KEY `KEY` and
    `KEY_start`. Columns of objects, sorted by image: `box` (T, 4) x, y, width, height, `category` class index, `crowd`,
    `area` and `annotation_id`, and with masks `outline`, bytes, and `outline_start` (T + 1,).

    Args:
        folder: of the columns.
        layout: of the columns.
        images: folder of the image files.
        image_lists: keys of lists of categories.
        digests: of the records and of their json, see `fingerprint`.

    Raises:
        ColumnsError: the columns are damaged.
    """

    def __init__(
        self,
        folder: str,
        layout: Layout,
        images: str,
        image_lists: Sequence[str] = (),
        digests: Mapping[str, Any] | None = None,
    ) -> None:
        self.digests = dict(digests or {})
        self._arguments = (folder, layout, images, tuple(image_lists), self.digests)
        self._images = images
        self._image_lists = tuple(image_lists)
        self.columns = open_columns(folder, layout)
        self.has_masks = "outline" in self.columns
        self._check()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, self._arguments

    def __len__(self) -> int:
        return len(self.columns["image_id"])

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self._record(number) for number in range(*index.indices(len(self)))]
        number = operator.index(index)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self._record(number)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self._record, range(len(self)))

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images; see `record_columns.column`.

        Args:
            name: one of `record_columns.COLUMNS`.
            start: first image.
            stop: the image after the last one.
        """
        self.columns.release()
        if name == "file_name":
            return np.array([*self._file_names(start, stop), None], dtype=object)[:-1]
        if name in ("image_id", "size"):
            return self.columns[name][start:stop]
        places = self.columns["image_start"]
        if name == "num_objects":
            return np.diff(places[start : stop + 1])
        return self.columns[STORED[name]][places[start] : places[stop]]

    def file_name(self, index: int) -> str:
        """Return the file of an image, without the rest of its record."""
        return os.path.join(self._images, self.stored_name(index))

    def stored_name(self, index: int) -> str:
        """Return the file name of an image relative to the folder of the images."""
        start, stop = self.columns.read("name_start", index, index + 2).tolist()
        return self.columns.read("name", start, stop).tobytes().decode(errors="surrogatepass")

    def _file_names(self, start: int, stop: int) -> list[str]:
        """Return the files of consecutive images; names are never absolute, which the checks refuse."""
        places = self.columns["name_start"][start : stop + 1].tolist()
        names = self.columns["name"][places[0] : places[-1]].tobytes() if places else b""
        folder = os.path.join(self._images, "")
        return [
            folder + names[first - places[0] : last - places[0]].decode(errors="surrogatepass")
            for first, last in itertools.pairwise(places)
        ]

    def _record(self, index: int) -> dict[str, Any]:
        height, width = self.columns.read("size", index, index + 1)[0].tolist()
        return {
            "file_name": self.file_name(index),
            "height": height,
            "width": width,
            "image_id": int(self.columns.read("image_id", index, index + 1)[0]),
            "annotations": self._annotations(index),
            **({HAS_MASKS: True} if self.has_masks else {}),
            **{key: self._list(key, index) for key in self._image_lists},
        }

    def _annotations(self, index: int) -> list[dict[str, Any]]:
        start, stop = self.columns.read("image_start", index, index + 2).tolist()
        keys = ("box", "category", "crowd", "area", "annotation_id")
        columns = (self.columns.read(key, start, stop).tolist() for key in keys)
        objects = [
            {
                "bbox": box,
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": category,
                "iscrowd": crowd,
                "area": area,
                "id": identifier,
            }
            for box, category, crowd, area, identifier in zip(*columns, strict=True)
        ]
        if self.has_masks:
            places = self.columns.read("outline_start", start, stop + 1).tolist()
            for item, (first, last) in zip(objects, itertools.pairwise(places), strict=True):
                item["segmentation"] = decode(self.columns.read("outline", first, last).tobytes())
        return objects

    def _list(self, key: str, index: int) -> list[int]:
        start, stop = self.columns.read(f"{key}_start", index, index + 2).tolist()
        values: list[int] = self.columns.read(key, start, stop).tolist()
        return values

    def _check(self) -> None:
        """Check that offsets are those of the columns that they point into."""
        ends = {"image_start": "box", "name_start": "name", **{f"{key}_start": key for key in self._image_lists}}
        if self.has_masks:
            ends["outline_start"] = "outline"
        for start, values in ends.items():
            offsets = self.columns.get(start)
            if offsets is None or values not in self.columns or len(offsets) != self._count(start) + 1:
                raise ColumnsError(f"column {start} is missing or short")
            if offsets[0] != 0 or offsets[-1] != len(self.columns[values]):
                raise ColumnsError(f"column {start} does not fit {values}")
            if start != "outline_start" and (offsets[1:] < offsets[:-1]).any():  # those of objects would take long
                raise ColumnsError(f"column {start} does not ascend")
        self.columns.release()

    def _count(self, start: str) -> int:
        """Return how many ranges a column of offsets has to have."""
        return len(self.columns.get("box", ())) if start == "outline_start" else len(self)


def check_unchanged(folder: str, sha256: str) -> None:
    """Check that columns are still those of a json.

    Args:
        folder: of the columns.
        sha256: of the json.

    Raises:
        ColumnsError: they are not.
    """
    if read_sealed(os.path.join(folder, DESCRIPTION)).get("sha256") != sha256:
        raise ColumnsError("they were built again from another file")


def _open_again(folder: str, *arguments: Any) -> ColumnRecords:
    """Open the columns of pickled records in another process.

    Raises:
        ColumnsError: they are no longer there, or were built again from another file.
    """
    try:
        records = ColumnRecords(folder, *arguments)
        check_unchanged(folder, records.digests.get("annotations_sha256", ""))
    except ColumnsError as error:
        raise ColumnsError(
            f"the columns in {folder} were removed or changed while they were in use: start the run again ({error})"
        ) from error
    return records
