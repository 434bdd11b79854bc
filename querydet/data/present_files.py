"""Where the files of images lie: under their whole names, or under the last two parts of them."""

import os
from collections.abc import Collection
from typing import Any

import numpy as np

from querydet.data.image_paths import in_folder, last_two
from querydet.data.record_columns import Records, chunks, column
from querydet.data.record_views import RecordView

AS_IT_IS, LAST_TWO = "file_name", "last_two"
SAMPLES = 64  # evenly spread images, by which the rule is found


class MovedFiles(RecordView):
    """The records of a data set whose files lie in a folder under the last two parts of their names.

    Args:
        dataset: the data set, or its records.
        folder: that the files are in.
    """

    def __init__(self, dataset: Records, folder: str) -> None:
        super().__init__(dataset)
        self._folder = folder

    def __len__(self) -> int:
        return len(self._inner[0])

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        record = self._inner[0][index]
        return {**record, "file_name": moved(record["file_name"], self._folder)}

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images, see `record_columns.column`."""
        values = column(self._inner[0], name, start, stop)
        if name != "file_name":
            return values
        return np.array([moved(path, self._folder) for path in values], dtype=object)


def moved(path: str, folder: str) -> str:
    """Return the path of a file under the last two parts of its name.

    Args:
        path: of the file, in the folder.
        folder: of the images.
    """
    return os.path.join(folder, last_two(in_folder(path, folder)))


def find_rule(records: Records, folder: str) -> str:
    """Find out whether images lie where their names say, or where the last two parts of their names say.

    Args:
        records: of the data set, with files where their names say.
        folder: of the images.

    Returns:
        `AS_IT_IS` or `LAST_TWO`.

    Raises:
        FileNotFoundError: of some evenly spread images, none is at either place.
    """
    count = min(SAMPLES, len(records))
    names = [records[index * len(records) // count]["file_name"] for index in range(count)]
    found = {
        AS_IT_IS: sum(map(os.path.isfile, names)),
        LAST_TWO: sum(os.path.isfile(moved(name, folder)) for name in names),
    }
    if not any(found.values()):
        raise FileNotFoundError(
            f"of {count} images of {os.path.abspath(folder)} none exists, neither under its whole name ({names[0]}) "
            f"nor under the last two parts of it ({moved(names[0], folder)}): check the dataset's images folder"
        )
    return max(found, key=lambda rule: found[rule])


def named(records: Records, names: Collection[str]) -> np.ndarray:
    """Return the indices of images by the last two parts of their names.

    Args:
        records: of the data set.
        names: the last two parts, such as "patch16/objects365_v2_00908726.jpg".
    """
    wanted = tuple(f"/{name}" for name in names)
    found = []
    for start, stop in chunks(records):
        paths = column(records, "file_name", start, stop).tolist()
        found += [index for index, path in enumerate(paths, start) if ("/" + path.replace("\\", "/")).endswith(wanted)]
    return np.array(found, dtype=np.int64)
