"""The annotation files that a data set comes from, and which of their images it has."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from detectron2.data import MetadataCatalog


@dataclass(frozen=True)
class Source:
    """Consecutive images of a file.

    Args:
        json_file: path of the annotations.
        image_root: folder of the images.
        start: first image, among those that were loaded from the file.
        stop: the image after the last one.
    """

    json_file: str
    image_root: str
    start: int
    stop: int

    def overlaps(self, other: "Source") -> bool:
        """Return whether both have images of one file in common."""
        if not (os.path.isfile(self.json_file) and os.path.isfile(other.json_file)):
            return False
        shared = max(self.start, other.start) < min(self.stop, other.stop)
        return shared and os.path.samefile(self.json_file, other.json_file)


def sources_of(dataset: Any) -> tuple[Source, ...]:
    """Return the sources of a data set, in the order of its images.

    Args:
        dataset: with a `name` in Detectron2's catalog, such as that of a loader, or the name itself.

    Returns:
        Nothing for data without files.
    """
    name = dataset if isinstance(dataset, str) else getattr(dataset, "name", "")
    metadata = MetadataCatalog.get(name) if name and name in MetadataCatalog else None
    if metadata is None:
        return ()
    if metadata.get("sources"):
        return tuple(metadata.sources)
    if not metadata.get("json_file"):
        return ()
    length = sys.maxsize if isinstance(dataset, str) else len(dataset)
    return (Source(metadata.json_file, metadata.get("image_root") or "", 0, length),)


def choose_sources(sources: Sequence[Source], start: int, stop: int) -> tuple[Source, ...]:
    """Return the sources of some consecutive images of a data set.

    Args:
        sources: of all images.
        start: first image.
        stop: the image after the last one.
    """
    chosen, before = [], 0
    for source in sources:
        length = source.stop - source.start
        first, last = max(start - before, 0), min(stop - before, length)
        if first < last:
            chosen.append(replace(source, start=source.start + first, stop=source.start + last))
        before += length
    return tuple(chosen)


def json_files(dataset: Any) -> list[str]:
    """Return the annotation files of a data set, each once."""
    return list(dict.fromkeys(source.json_file for source in sources_of(dataset)))
