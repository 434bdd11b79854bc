"""Diagnosis of the numbers of a data set: its categories, and the objects of each class and image."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from querydet.data.categories import ROOT_IN_USE, left_out, root_in_use
from querydet.data.diagnosis import CHANGES, NOTE, STOPS, Diagnosis, Treatment

NO_ANNOTATIONS = "the file lists images alone"
FEW_OBJECTS = 10  # classes with fewer objects are reported


def examine_categories(
    categories: Sequence[dict[str, Any]],
    used: collections.Counter[Any],
    counts: Mapping[Any, int],
    treatment: Treatment,
    diagnosis: Diagnosis,
) -> None:
    """Report what is unusual about the categories of a json, and set the classes and their numbers of objects.

    Args:
        categories: entries with an id.
        used: see `categories.used_ids`.
        counts: objects of each category id, without crowd regions.
        treatment: how the config treats problems.
        diagnosis: gets the findings.
    """
    dropped = left_out(categories, used)
    for identifier, reason in dropped.items():
        diagnosis.add(NOTE, "category that is no class", "left out", f"category {identifier} ({reason})")
    if root_in_use(categories, used):
        diagnosis.add(CHANGES, "annotations of category 0", ROOT_IN_USE, str(categories[0].get("name")))
    ids = sorted(category["id"] for category in categories if category["id"] not in dropped)
    names = {category["id"]: str(category.get("name")) for category in categories}
    diagnosis.classes = [names[identifier] for identifier in ids]
    _examine_ids(ids, treatment, diagnosis)
    for identifier, name in zip(ids, diagnosis.classes, strict=True):
        diagnosis.objects_of[name] = count = counts.get(identifier, 0)
        if not count:
            diagnosis.add(NOTE, "class without objects", "it is never learned, or never evaluated", name)
        elif count < FEW_OBJECTS and treatment.training:
            kind = f"class with fewer than {FEW_OBJECTS} objects"
            diagnosis.add(NOTE, kind, "hardly learned", f"{name} ({count})")


def _examine_ids(ids: list[int], treatment: Treatment, diagnosis: Diagnosis) -> None:
    if ids and ids != list(range(ids[0], ids[0] + len(ids))):
        present = set(ids)
        gaps = [str(missing) for missing in range(ids[0], min(ids[-1], ids[0] + 10**6)) if missing not in present]
        effect = f"the {len(ids)} ids become classes 0 to {len(ids) - 1}, in their order"
        for gap in gaps:
            diagnosis.add(NOTE, "gap in the category ids", effect, gap)
    if treatment.num_classes is not None and treatment.num_classes != len(ids):
        effect = f"stops before the first step: set model.num_classes={len(ids)}"
        diagnosis.add(STOPS, "wrong number of classes", effect, f"the model has {treatment.num_classes}")


def examine_totals(images: int, objects: int, crowds: int, treatment: Treatment, diagnosis: Diagnosis) -> None:
    """Report a data set without objects, or of crowd regions alone.

    Args:
        images: their number.
        objects: their number, without crowd regions.
        crowds: number of crowd regions.
        treatment: how the config treats problems.
        diagnosis: gets the findings.
    """
    use = "trained on" if treatment.training else "evaluated"
    if crowds and not objects:
        effect = f"nothing is {use}: if they are single objects, set iscrowd and ignore to 0"
        diagnosis.add(CHANGES, "all objects are crowd regions", effect, f"{crowds} objects")
    elif images and not objects and NO_ANNOTATIONS not in diagnosis.findings:
        diagnosis.add(CHANGES, "no image has any object", f"nothing is {use}", diagnosis.source)


def examine_count(name: str, objects: int, crowds: int, treatment: Treatment, diagnosis: Diagnosis) -> None:
    """Report an image without objects, or with more than the model has queries; arguments as of `examine_totals`."""
    if NO_ANNOTATIONS in diagnosis.findings and not crowds:
        return
    if not objects:
        kind = "image with nothing but crowd regions" if crowds else "image without objects"
        diagnosis.add(NOTE, kind, "kept: all of it is background", name)
    elif treatment.num_queries is not None and objects > treatment.num_queries:
        effect = f"more than the {treatment.num_queries} queries: the others are not learned, or not found"
        diagnosis.add(CHANGES, "image with more objects than queries", effect, f"{name} ({objects})")
