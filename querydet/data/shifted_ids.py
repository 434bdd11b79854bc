"""Ids of annotations that count from another number than the list that they refer to.

One program counts from 0, another from 1: then one id belongs to no entry of the list, and the entry at the other end
has no annotation. Category ids may have gaps, as COCO's, and annotations the position in the list instead of the id.

A shift is only found when one way to read the ids explains all of them, and only certain when every entry has
annotations that way (of images: all but a few). Otherwise the ids may be right, and the entry missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from querydet.data.box_format import FAR, TOLERANCE_PX, annotated_boxes
from querydet.data.entries import is_id

LEAST_IMAGES = 3  # of a list, for a shift of its ids
LEAST_ANNOTATED = 0.9  # share of the images that have annotations, when they are read with a shift, for certainty


@dataclass(frozen=True)
class Shift:
    """How the ids of annotations are to be read.

    Args:
        ids: id of the list by id of the annotations.
        rule: in words.
        is_certain: whether nothing else can be meant.
    """

    ids: dict[int, int]
    rule: str
    is_certain: bool

    def remedy(self) -> str:
        """Return what to do about it."""
        if self.is_certain:
            return "check-data --write-fixed corrects them"
        return "not certain, as some entries have no annotations either way: correct the ids in your exporter"


def category_shift(categories: Any, annotations: Any) -> Shift | None:
    """Find the way in which the category ids of all annotations are shifted; None where they are not, or it is unclear.

    Args:
        categories: of the json; entries without a proper id make it unclear.
        annotations: of the json.
    """
    ids, used = _ids(categories), _used(annotations, "category_id")
    if not ids or not used or used <= set(ids):
        return None
    ways = {
        "one too small": {number - 1: number for number in ids},
        "one too large": {number + 1: number for number in ids},
        "the position in the list of categories, from 0": dict(enumerate(ids)),
        "the position in the list of categories, from 1": dict(enumerate(ids, start=1)),
    }
    found: list[tuple[str, dict[int, int]]] = []
    for rule, meaning in ways.items():
        # both ends have to speak for it: the first or last id that is used is in no list, the other end is not used
        is_explained = used <= meaning.keys() and _moves_an_end(used, meaning, set(ids))
        if is_explained and not any(_agree(meaning, other, used) for _, other in found):
            found.append((rule, meaning))
    if len(found) != 1:
        return None
    rule, meaning = found[0]
    return Shift(meaning, rule, is_certain={meaning[number] for number in used} == set(ids))


def image_shift(images: Any, annotations: Any) -> Shift | None:
    """Find out whether the image ids of all annotations are one too small or too large; None where they are not.

    Args:
        images: of the json; entries without a proper id, or with ids that have gaps, make it unclear.
        annotations: of the json.
    """
    ids, used = _ids(images), _used(annotations, "image_id")
    if len(ids) < LEAST_IMAGES or sorted(ids) != list(range(min(ids), min(ids) + len(ids))):
        return None
    for step, rule in ((-1, "one too small"), (1, "one too large")):
        meaning = {number + step: number for number in ids}
        if not (used <= meaning.keys() and _moves_an_end(used, meaning, set(ids))):
            continue
        if _misfits(images, annotations, meaning.__getitem__) > _misfits(images, annotations, int):
            return None  # the boxes say that the ids are right
        return Shift(meaning, rule, is_certain=len(used) >= LEAST_ANNOTATED * len(ids))
    return None


def _ids(entries: Any) -> list[int]:
    """Return the ids of a list in its order; none where one of them is no id, or is used twice."""
    listed: Sequence[Any] = entries if isinstance(entries, list) else []
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in listed]
    numbers = [number for number in ids if is_id(number)]
    return numbers if len(numbers) == len(ids) == len(set(numbers)) else []


def _used(annotations: Any, key: str) -> set[int]:
    """Return the ids of all annotations; none where one of them is no id."""
    listed: Sequence[Any] = annotations if isinstance(annotations, list) else []
    values = [entry.get(key) if isinstance(entry, dict) else None for entry in listed]
    numbers = {number for number in values if is_id(number)}
    return numbers if all(map(is_id, values)) else set()


def _moves_an_end(used: set[int], meaning: dict[int, int], ids: set[int]) -> bool:
    """Return whether the id at the end that the list lacks is used, and the one at its other end is not."""
    foreign, spare = set(meaning) - ids, ids - set(meaning)
    return bool(foreign) and bool(foreign & used) and not spare & used and bool(spare)


def _agree(one: dict[int, int], other: dict[int, int], used: set[int]) -> bool:
    return all(one[number] == other[number] for number in used)


def _misfits(images: Any, annotations: Any, meaning: Callable[[int], int]) -> int:
    """Count the boxes that leave their images by far, when image ids are read in a way."""
    moved = [{**entry, "image_id": meaning(entry["image_id"])} for entry in annotations]
    return sum(
        x + w > width * (1 + FAR) + TOLERANCE_PX or y + h > height * (1 + FAR) + TOLERANCE_PX
        for _, (x, y, w, h), width, height, _ in annotated_boxes(images, moved)
    )
