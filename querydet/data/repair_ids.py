"""Repair of the ids of a COCO json: integers that are written as floats or texts, and ids that say nothing.

Every id keeps its number where it means one. Images and categories that are named by a text get the next free numbers,
and the annotations follow. An annotation id that is missing or used twice is replaced by a new one.
"""

import collections
from collections.abc import Callable, Sequence
from typing import Any

from querydet.data.entries import as_id, is_id

Note = Callable[[str, str], None]  # what was done, and where


def repair_ids(content: dict[str, list[Any]], note: Note) -> None:
    """Repair the ids of images, categories and annotations in place.

    Args:
        content: the lists "images", "annotations" and "categories"; entries that are no objects are passed over.
        note: called for every repair.
    """
    for kind, key in (("image", "image_id"), ("category", "category_id")):
        listed = [entry for entry in content[_LISTS[kind]] if isinstance(entry, dict)]
        numbers = _number(listed, kind, note)
        for position, annotation in enumerate(content["annotations"]):
            value = annotation.get(key) if isinstance(annotation, dict) else None
            if is_id(value) or not isinstance(value, str | float):
                continue
            number = numbers.get(value, as_id(value))
            if number is not None:
                annotation[key] = number
                note(f"{key} is an integer now", f"annotation at position {position} ({value!r})")
    _number_annotations(content["annotations"], note)


_LISTS = {"image": "images", "category": "categories"}


def _number(entries: Sequence[dict[str, Any]], kind: str, note: Note) -> dict[Any, int]:
    """Give integer ids to entries; return the new number by the old id of those that were changed."""
    taken = collections.Counter(as_id(entry.get("id")) for entry in entries)
    free = max([0, *(number for number in taken if number is not None)]) + 1
    numbers: dict[Any, int] = {}
    texts = collections.Counter(entry["id"] for entry in entries if isinstance(entry.get("id"), str))
    for entry in entries:
        value = entry.get("id")
        if is_id(value) or not isinstance(value, str | float) or not value:
            continue
        number = as_id(value)
        if number is None or taken[number] > 1:  # "a", or "01" beside "1"
            if not isinstance(value, str) or texts[value] > 1:
                continue
            number, free = free, free + 1
            entry.setdefault("original_id", value)
        numbers[value] = entry["id"] = number
        note(f"{kind} id is an integer now", f"{number} ({value!r})")
    return numbers


def _number_annotations(annotations: list[Any], note: Note) -> None:
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    free = max([0, *(number for entry in entries if (number := as_id(entry.get("id"))) is not None)]) + 1
    taken: set[int] = set()
    for entry in entries:
        value, number = entry.get("id"), as_id(entry.get("id"))
        if number is None or number in taken:
            number, free = free, free + 1
        taken.add(number)
        if not is_id(value) or value != number:
            entry["id"] = number
            what = "annotation has an id now" if value is None else "annotation id is an integer of its own now"
            note(what, f"{number}" if value is None else f"{number} ({value!r})")
