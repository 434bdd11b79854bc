"""The categories of a COCO json as classes: which count, in which order, and under which ids.

By default the classes are the categories in the order of their ids. Two kinds of entries are left out:
a root that exporters put above the classes (Roboflow: id 0, supercategory "none"), and a category that has the name of
another one; both only when no annotation uses them.
"""

import collections
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROOT_IN_USE = "the root above the classes: it becomes a class; if category_id is one too small, add 1 to it"
ROOT_ID, ROOT_SUPERCATEGORY = 0, "none"
FREQUENCIES = ("r", "c", "f")  # LVIS: rare, common and frequent


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Args:
        names: by class index.
        index_of: class index by category id of the json; every class has an id. Classes that the json lacks have ids
            beyond those of the json.
        absent: indices of the classes that the json lacks.
        is_matched: whether they are those of other data, and not the json's own.
        notes: what is unusual about them, for the log.
        frequency: of every class, LVIS's "r", "c" or "f" and "" of absent ones; empty where the json has none.
    """

    names: list[str]
    index_of: dict[int, int]
    absent: tuple[int, ...] = ()
    is_matched: bool = False
    notes: list[str] = field(default_factory=list)
    frequency: tuple[str, ...] = ()


def used_ids(annotations: Any) -> collections.Counter[Any]:
    """Count the annotations of each category id; entries that are no annotations do not count."""
    entries = annotations if isinstance(annotations, list) else []
    values = (entry.get("category_id") for entry in entries if isinstance(entry, dict))
    return collections.Counter(value for value in values if isinstance(value, int | float | str))


def left_out(categories: Sequence[dict[str, Any]], used: collections.Counter[Any]) -> dict[int, str]:
    """Return the ids of the categories that are no classes, with the reason.

    Args:
        categories: entries with an id.
        used: from `used_ids`.
    """
    found: dict[int, str] = {}
    unused = [category for category in categories if not used[category["id"]]]
    roots = [category for category in categories if category.get("supercategory") == ROOT_SUPERCATEGORY]
    if len(categories) > 1 and len(roots) == 1 and roots[0]["id"] == ROOT_ID and roots[0] in unused:
        found[ROOT_ID] = "a root above the classes, used by no annotation"
    by_name: dict[Any, list[int]] = collections.defaultdict(list)
    for category in categories:
        if category["id"] not in found and isinstance(category.get("name"), str):
            by_name[category["name"]].append(category["id"])
    for ids in by_name.values():
        spare = [identifier for identifier in ids if not used[identifier]]
        # of equal names that are all unused, the first one is the class
        for identifier in spare if len(spare) < len(ids) else spare[1:]:
            found[identifier] = "another category has its name, and no annotation uses it"
    return found


def root_in_use(categories: Sequence[dict[str, Any]], used: collections.Counter[Any]) -> bool:
    """Return whether annotations have the root that Roboflow puts above the classes: their ids may be one too small.

    Args:
        categories: entries with an id.
        used: from `used_ids`.
    """
    root = next((category for category in categories if category["id"] == ROOT_ID), None)
    others = [category for category in categories if category["id"] != ROOT_ID]
    if root is None or root.get("supercategory") != ROOT_SUPERCATEGORY or not others or not used[ROOT_ID]:
        return False
    return all(category.get("supercategory") == root.get("name") for category in others)


def find_classes(
    categories: Sequence[dict[str, Any]],
    used: collections.Counter[Any],
    wanted: Sequence[str] | None,
    source: str,
) -> Classes:
    """Choose the classes of a data set.

    Args:
        categories: checked entries of the json (`coco_checks`).
        used: from `used_ids`.
        wanted: class names that the data set is to have, in their order, which are those of the training data; None:
            its own categories by their ids.
        source: name of the file, for messages.

    Raises:
        ValueError: annotations have a category that `wanted` lacks.
    """
    dropped = left_out(categories, used)
    notes = [
        f"category {category['id']} ({reprlib.repr(category.get('name'))}) is left out: {dropped[category['id']]}"
        for category in categories
        if category["id"] in dropped
    ]
    if root_in_use(categories, used):
        notes.append(f"{used[ROOT_ID]} annotations have category 0, {ROOT_IN_USE}")
    kept = sorted((category for category in categories if category["id"] not in dropped), key=_by_id)
    own = [category["name"] for category in kept]
    if wanted is None or own == list(wanted):
        index_of = {category["id"]: index for index, category in enumerate(kept)}
        return Classes(own, index_of, notes=notes, frequency=_frequencies(kept, index_of))
    positions = {name: index for index, name in enumerate(wanted)}
    foreign = [category for category in kept if category["name"] not in positions]
    refused = [category for category in foreign if used[category["id"]]]
    if refused:
        listed = ", ".join(f"'{each['name']}' ({used[each['id']]} annotations)" for each in refused[:10])
        raise ValueError(
            f"{source}: the model was not trained on {listed}{', ...' if len(refused) > 10 else ''}; its classes are "
            f"{_shown(wanted)}. Give both annotation files the same names, or remove these annotations"
        )
    index_of = {each["id"]: positions[each["name"]] for each in kept if each["name"] in positions}
    frequency = _frequencies(kept, index_of, len(wanted))
    absent = tuple(index for name, index in positions.items() if name not in own)
    first = max([0, *(category["id"] for category in categories)]) + 1
    index_of |= {first + number: index for number, index in enumerate(absent)}
    notes.append(f"classes are matched by name with those of the training data ({_shown(wanted)})")
    if absent:
        notes[-1] += f"; the file has no category {_shown([wanted[index] for index in absent])}"
    if foreign:
        notes[-1] += f"; unused and left out: {_shown([category['name'] for category in foreign])}"
    return Classes(list(wanted), index_of, absent, True, notes, frequency)


def _frequencies(
    categories: Sequence[dict[str, Any]], index_of: Mapping[int, int], count: int | None = None
) -> tuple[str, ...]:
    """Return the frequency of every class; nothing where a category has none."""
    found = [""] * (len(index_of) if count is None else count)
    for category in categories:
        if category.get("frequency") not in FREQUENCIES:
            return ()
        if category["id"] in index_of:
            found[index_of[category["id"]]] = category["frequency"]
    return tuple(found)


def _by_id(category: dict[str, Any]) -> int:
    return category["id"]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:10]) + (", ..." if len(names) > 10 else "")
