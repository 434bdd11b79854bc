"""Names of images above their pictures."""

import collections
import os
from collections.abc import Mapping, Sequence
from typing import Any


def picture_titles(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a title for each of several images that no other one of them has.

    It is the name of the file; of files of one name in several folders, the path from where the folders differ; of
    images that share a file, their ids too.

    Args:
        records: Detectron2 dicts of the images.
    """
    paths = [os.path.normpath(str(record.get("file_name", ""))) for record in records]
    by_name: dict[str, set[str]] = collections.defaultdict(set)
    for path in paths:
        by_name[os.path.basename(path)].add(path)
    counts = collections.Counter(paths)
    titles = []
    for record, path in zip(records, paths, strict=True):
        same = by_name[os.path.basename(path)]
        title = os.path.basename(path) if len(same) == 1 else _from_difference(path, same)
        titles.append(f"{title}, image {record.get('image_id')}" if counts[path] > 1 else title)
    return titles


def _from_difference(path: str, others: set[str]) -> str:
    """Return a path without the folders that all of several paths begin with."""
    try:
        shared = os.path.commonpath([os.path.dirname(other) for other in others])
    except ValueError:  # absolute and relative ones
        return path
    return path[len(shared) :].lstrip(os.sep)
