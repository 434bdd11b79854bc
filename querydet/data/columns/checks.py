"""The checks of `coco_checks` on a json that was read in pieces: the same problems, in the same words.

Rows that may be wrong are found by arithmetic on whole columns and turned into entries again, so that one code judges
and names them, for small and large files. Files as a whole are judged by an even sample of their annotations.
"""

import collections
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from querydet.data.categories import used_ids
from querydet.data.coco_checks import (
    KnownIds,
    check_annotations,
    check_boxes_together,
    check_categories,
    check_images,
    check_lists,
    check_shifts,
)
from querydet.data.coco_records import ReadingRules
from querydet.data.columns.collect import MOST_ODD, Collected
from querydet.data.columns.ids import SortedIds
from querydet.data.columns.rows import INT64, Odd
from querydet.data.entries import is_id
from querydet.data.foreign_formats import describe
from querydet.data.image_lists import check_image_lists
from querydet.data.problem_report import ProblemReport


def find_problems(found: Collected, source: str, images: str, rules: ReadingRules) -> ProblemReport:
    """Find all problems of a json.

    Args:
        found: from `collect`.
        source: path of the json, for messages.
        images: folder of the images, to suggest the file that a wrong name may mean.
        rules: how the json is read.
    """
    report = ProblemReport(source)
    if not found.is_object:
        report.add("not a COCO json, the top level must be an object", describe(found.top))
        return report
    content = {key: found.others.get(key, []) for key in found.keys}
    check_lists(content, rules.need_annotations, report)
    if report.kinds:
        if not content.keys() & {"images", "annotations", "categories"}:
            report.add("not a COCO json", describe(content))
        return report
    _check_entries(found, images, rules, report)
    if found.too_odd:
        report.add(f"more than {MOST_ODD:,} entries cannot be used", "the others are not named")
    elif rules.check_boxes:
        check_boxes_together(sampled_images(found), found.sample.entries, report)
    return report


def used_categories(found: Collected) -> collections.Counter[Any]:
    """Count the annotations of each category id; see `categories.used_ids`."""
    used = used_ids([entry for _, entry in found.odd_annotations])
    for rows in found.chunks():
        ids, counts = np.unique(rows["category_id"], return_counts=True)
        used.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    return used


def sampled_images(found: Collected) -> list[dict[str, Any]]:
    """Return id and size of the images of the sampled annotations."""
    values = [entry.get("image_id") for entry in found.sample.entries if isinstance(entry, dict)]
    ids = np.array(sorted({value for value in values if is_id(value) and -INT64 <= value < INT64}), np.int64)
    positions = SortedIds(found.images["id"]).positions(ids)
    return [_image(row) for row in found.images[positions[positions >= 0]]]


def _check_entries(found: Collected, images: str, rules: ReadingRules, report: ProblemReport) -> None:
    ids = SortedIds(found.images["id"])
    odd_images = [entry for _, entry in found.odd_images]
    repeated = np.flatnonzero(np.isin(found.images["id"], [*ids.repeated(), *_ids_of(odd_images)]))
    places = _positions(repeated, found.odd_images)
    again = [
        (place, {**_image(found.images[row]), "file_name": "x"}) for row, place in zip(repeated, places, strict=True)
    ]
    if not len(found.images) and not found.odd_images:
        report.add("empty list", "'images'")
    if not found.categories:
        report.add("empty list", "'categories'")
    odd_ids = check_images(_in_order(found.odd_images, again), images, report)
    _name_large_ids(found.odd_images, "image", "id", report)
    category_ids = check_categories(found.categories, used_categories(found), report)
    check_image_lists(_lists_of(found), rules.image_lists, category_ids, report, needed="annotations" in found.lists)
    known = KnownIds.of({"images": odd_images, "categories": found.categories}, _Either(ids, odd_ids), category_ids)
    suspicious = _in_order(found.odd_annotations, _suspicious(found, ids, odd_ids, category_ids))
    check_annotations(suspicious, known, _shifted(found, report) if suspicious else (), report)
    _name_large_ids(found.odd_annotations, "annotation", "id", report)
    _name_large_ids(found.odd_annotations, "annotation", "category_id", report, category_ids)


def _positions(rows: np.ndarray, odd: Odd) -> list[int]:
    """Return the positions in a list of the json of rows, which the odd entries stand between."""
    before = np.array([position - number for number, (position, _) in enumerate(odd)], np.int64)
    positions: list[int] = (rows + np.searchsorted(before, rows, side="right")).tolist()
    return positions


def _in_order(odd: Odd, others: Odd) -> Odd:
    return sorted([*odd, *others], key=lambda entry: entry[0])


def _suspicious(found: Collected, image_ids: SortedIds, odd_ids: set[int], category_ids: set[int]) -> Odd:
    """Return the rows of annotations that refer to nothing, or have an id that is used twice, as entries."""
    if len(found.odd_images) == MOST_ODD:  # there may be images that are not known
        return []
    categories = np.array(sorted(number for number in category_ids if -INT64 <= number < INT64), np.int64)
    others = np.array(sorted(number for number in odd_ids if -INT64 <= number < INT64), np.int64)
    again = np.array([*_repeated_ids(found), *_ids_of([entry for _, entry in found.odd_annotations])], np.int64)
    entries: Odd = []
    first = 0
    for rows in found.chunks():
        is_known = (image_ids.positions(rows["image_id"]) >= 0) | np.isin(rows["image_id"], others)
        wrong = ~is_known | ~np.isin(rows["category_id"], categories) | np.isin(rows["id"], again)
        chosen = np.flatnonzero(wrong)[: MOST_ODD - len(entries)]
        places = _positions(first + chosen, found.odd_annotations)
        entries += [(place, _annotation(rows[row])) for row, place in zip(chosen, places, strict=True)]
        first += len(rows)
    return entries


def _repeated_ids(found: Collected) -> np.ndarray:
    """Return the ids that several rows of annotations have."""
    last, grows = -INT64, True
    for rows in found.chunks():
        ids = rows["id"]
        grows = grows and ids[0] > last and bool((ids[1:] > ids[:-1]).all())
        last = int(ids[-1])
    if grows:
        return np.zeros(0, np.int64)
    ids = np.sort(np.concatenate([rows["id"].copy() for rows in found.chunks()]))
    return np.unique(ids[1:][ids[1:] == ids[:-1]])


def _shifted(found: Collected, report: ProblemReport) -> set[str]:
    """Report ids that count from another number, by one annotation of each id."""
    chosen: dict[str, dict[int, dict[str, Any]]] = {"image_id": {}, "category_id": {}}  # an annotation of each id
    for rows in found.chunks():
        for key, known in chosen.items():
            values, places = np.unique(rows[key], return_index=True)
            known |= {
                value: _annotation(rows[place])
                for value, place in zip(values.tolist(), places, strict=True)
                if value not in known
            }
    entries = [entry for known in chosen.values() for entry in known.values()]
    content = {
        "images": [*(_image(row) for row in found.images), *(entry for _, entry in found.odd_images)],
        "categories": found.categories,
        "annotations": [*entries, *(entry for _, entry in found.odd_annotations)],
    }
    return check_shifts(content, report)


def _lists_of(found: Collected) -> list[dict[str, Any]]:
    """Return the lists of categories of all images as entries."""
    entries: list[dict[str, Any]] = [{"id": number} for number in found.images["id"].tolist() if found.list_values]
    for key, values in found.list_values.items():
        for entry, value in zip(entries, values, strict=True):
            entry[key] = value.tolist() if isinstance(value, np.ndarray) else value
    places = _positions(np.arange(len(entries)), found.odd_images)
    return [entry for _, entry in _in_order(found.odd_images, list(zip(places, entries, strict=True)))]


def _name_large_ids(odd: Odd, kind: str, key: str, report: ProblemReport, known: Container[int] | None = None) -> None:
    """Report integers that fit into no column, and are ids in a small file."""
    for _, entry in odd:
        value = entry.get(key) if isinstance(entry, dict) else None
        if is_id(value) and not -INT64 <= value < INT64 and (known is None or value in known):
            report.add(
                f"{key} has more than 64 bits, which a large file cannot have", f"{kind} {entry['id']} ({value})"
            )


def _ids_of(entries: Sequence[Any]) -> list[int]:
    values = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    return [value for value in values if is_id(value) and -INT64 <= value < INT64]


def _image(row: np.void) -> dict[str, Any]:
    return {"id": int(row["id"]), "width": int(row["width"]), "height": int(row["height"])}


def _annotation(row: np.void) -> dict[str, Any]:
    numbers = {key: int(row[key]) for key in ("id", "image_id", "category_id")}
    return {**numbers, "bbox": row["box"].tolist(), "iscrowd": int(row["crowd"] and not row["ignored"])}


class _Either:
    """Ids of two collections."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __contains__(self, value: object) -> bool:
        return any(value in part for part in self._parts)
