"""One pass over a large json: its entries as rows on the disk, and what the checks need besides."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from querydet.data.coco_records import ReadingRules
from querydet.data.columns.files import ColumnWriter, column_path
from querydet.data.columns.json_lists import JsonLists
from querydet.data.columns.rows import ANNOTATION, IMAGE, Odd, annotation_rows, image_rows
from querydet.data.image_paths import set_file_names

KEYS = ("images", "annotations", "categories")
MOST_ODD = 100_000  # entries that fit no row, and are kept to be named; a file with more of them is refused
MOST_SAMPLED = 20_000  # annotations by which a file is judged as a whole
CHUNK = 1 << 19  # rows that are looked at at once
ROWS, OUTLINES = "rows", "outlines"


class EvenSample:
    """Some entries of a long list, evenly spread, chosen while it is read.

    Args:
        most: entries to keep; at most twice as many are held.
    """

    def __init__(self, most: int) -> None:
        self.entries: list[Any] = []
        self._most, self._step = most, 1

    def add(self, first: int, entries: list[Any]) -> None:
        """Add entries of the list, of which the first one has a position."""
        self.entries += entries[-first % self._step :: self._step]
        while len(self.entries) > 2 * self._most:
            self.entries = self.entries[::2]
            self._step *= 2


@dataclass
class Collected:
    """What a json holds.

    Args:
        folder: of the rows of annotations, `ANNOTATION`, and of the file names.
        top: the first value of a file whose top level is no object.
        is_object: whether the top level is one.
        keys: of the top level, in their order.
        others: values of the top level that are no lists.
        lists: keys of the lists of the top level.
        sha256: of the file.
        categories: entries of the json.
        images: rows of `IMAGE`.
        list_values: lists of categories of the images, by their key.
        odd_images: images that fit no row, with their positions.
        odd_annotations: likewise.
        too_odd: whether there were more of them, which were passed over.
        count: annotations that were read.
        sample: annotations, evenly spread.
        outline_bytes: of the file of the outlines.
    """

    folder: str
    top: Any = None
    is_object: bool = True
    keys: list[str] = field(default_factory=list)
    others: dict[str, Any] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    sha256: str = ""
    categories: list[Any] = field(default_factory=list)
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, IMAGE))
    list_values: dict[str, list[Any]] = field(default_factory=dict)
    odd_images: Odd = field(default_factory=list)
    odd_annotations: Odd = field(default_factory=list)
    too_odd: bool = False
    count: int = 0
    sample: EvenSample = field(default_factory=lambda: EvenSample(MOST_SAMPLED))
    outline_bytes: int = 0

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the rows of the annotations, `CHUNK` of them at a time, which are all that is in memory."""
        path = column_path(self.folder, ROWS)
        if os.path.isfile(path):
            yield from read_rows(path)


def read_rows(path: str) -> Iterator[np.ndarray]:
    """Yield the rows of a file of `ANNOTATION` in chunks."""
    with open(path, "rb") as file:
        while len(rows := np.fromfile(file, ANNOTATION, CHUNK)):
            yield rows


def collect(
    annotations: str, images: str, rules: ReadingRules, folder: str, progress: Callable[[int], Any] = lambda size: None
) -> Collected:
    """Read a json once.

    Args:
        annotations: path of the json.
        images: folder of the images.
        rules: how it is read.
        folder: that the rows are written into.
        progress: called with the number of bytes after every piece of the file.

    Raises:
        ValueError: the file is not json.
        OSError: it cannot be read, or the folder not be written.
    """
    found = Collected(folder, list_values={key: [] for key in rules.image_lists})
    lists = JsonLists(annotations, KEYS, progress)
    rows: list[np.ndarray] = []
    with ColumnWriter(folder) as writer, contextlib.closing(iter(lists)) as batches:
        for key, first, entries in batches:
            if key == "categories":
                found.categories += entries
            elif key == "images":
                rows.append(_add_images(found, first, entries, images, rules, writer))
            else:
                _add_annotations(found, first, entries, rules.masks, writer)
    found.images = np.concatenate(rows) if rows else found.images
    found.top, found.is_object, found.others, found.lists = lists.top, lists.is_object, lists.others, lists.seen
    found.keys, found.sha256 = lists.order, lists.sha256
    return found


def _add_images(
    found: Collected, first: int, entries: list[Any], folder: str, rules: ReadingRules, writer: ColumnWriter
) -> np.ndarray:
    set_file_names(entries, rules.file_names)
    batch = image_rows(entries, first, folder)
    _keep_odd(found, found.odd_images, batch.odd)
    names = [entry["file_name"].encode(errors="surrogatepass") for entry in batch.kept]
    if names:
        writer.append("name", np.frombuffer(b"".join(names), np.uint8))
        writer.append("name_length", np.array([len(name) for name in names], np.int64))
    for key, values in found.list_values.items():
        values += [_as_ids(entry.get(key)) for entry in batch.kept]  # None where there is none
    return batch.rows


def _add_annotations(found: Collected, first: int, entries: list[Any], masks: bool, writer: ColumnWriter) -> None:
    batch = annotation_rows(entries, first, masks)
    _keep_odd(found, found.odd_annotations, [(position, _without_outline(entry)) for position, entry in batch.odd])
    found.count += len(entries)
    found.sample.add(first, entries)
    if masks:
        texts = [json.dumps(entry.get("segmentation")).encode() for entry in batch.kept]
        lengths = np.array([len(text) for text in texts], np.int64)
        batch.rows["outline"][:, 0] = found.outline_bytes + np.cumsum(lengths) - lengths
        batch.rows["outline"][:, 1] = lengths
        writer.append(OUTLINES, np.frombuffer(b"".join(texts), np.uint8))
        found.outline_bytes += int(lengths.sum())
    if len(batch.rows):
        writer.append(ROWS, batch.rows)


def _keep_odd(found: Collected, kept: Odd, odd: Odd) -> None:
    found.too_odd = found.too_odd or len(kept) + len(odd) > MOST_ODD
    kept += odd[: MOST_ODD - len(kept)]


def _without_outline(entry: Any) -> Any:
    return {key: value for key, value in entry.items() if key != "segmentation"} if isinstance(entry, dict) else entry


def _as_ids(value: Any) -> Any:
    """Return a list of ids as an array, and anything else as it is, for the checks."""
    if isinstance(value, list) and set(map(type, value)) <= {int}:
        try:
            return np.array(value, np.int64)
        except OverflowError:
            return value
    return value
