"""Repair of a COCO json: what has one possible meaning is written as it should be, everything else is left and named.

The input is not changed. What a repair did is listed by kind, with the places.
"""

import collections
import copy
import json
import math
import os
from typing import Any

from pycocotools import mask

from querydet.data.box_format import find_box_format
from querydet.data.coco_checks import as_id, as_number, find_problems, is_id, is_number
from querydet.data.file_names import FolderIndex, fault_of
from querydet.data.media import READ_ERRORS, ImageReader
from querydet.data.orientation import size_as_read
from querydet.data.repair_ids import Note, repair_ids
from querydet.utils.atomic import TEMPORARY, atomic_write

LISTS = ("images", "annotations", "categories")
FLAGS = {"0": 0, "0.0": 0, "false": 0, "no": 0, "": 0, "1": 1, "1.0": 1, "true": 1, "yes": 1}


def repair(content: Any, images: str, reader: ImageReader | None = None) -> tuple[Any, dict[str, list[str]]]:
    """Repair a json.

    Args:
        content: the parsed file; not changed.
        images: folder of the images, for missing sizes and names that nearly exist.
        reader: of the mapper, which decides on the size of turned images; None: the default one.

    Returns:
        The repaired content, and the places of what was done by kind. `coco_checks.find_problems` says what is left.
    """
    content = copy.deepcopy(content)
    done: dict[str, list[str]] = collections.defaultdict(list)

    def note(kind: str, place: str) -> None:
        done[kind].append(place)

    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict) and "images" in content[0]:
        content = content[0]
        note("taken out of a list", "the whole file")
    if not isinstance(content, dict) or any(not isinstance(content.get(key, []), list) for key in LISTS):
        return content, done
    lists = {key: content.get(key, []) for key in LISTS}
    repair_ids(lists, note)
    _repair_images(lists["images"], images, reader or ImageReader(), note)
    for category in lists["categories"]:
        if isinstance(category, dict) and isinstance(category.get("name"), int | float):
            category["name"] = str(category["name"])
            note("category name is a text now", f"category {category.get('id')} ({category['name']})")
    _drop_strays(content, note)
    for position, annotation in enumerate(content.get("annotations", [])):
        if isinstance(annotation, dict):
            _repair_annotation(annotation, f"annotation {annotation.get('id', f'at position {position}')}", note)
    if _repair_layout(content, note):
        for annotation in content.get("annotations", []):
            if isinstance(annotation, dict):
                _repair_box(annotation, note)
    return content, done


def write_fixed(path: str, source: str, content: Any) -> None:
    """Write a repaired json, complete or not at all.

    Args:
        path: of the new file.
        source: of the file that was repaired.
        content: to write.

    Raises:
        ValueError: the new file would take the place of the old one, or is a folder.
    """
    for target in (path, path + TEMPORARY):
        if os.path.exists(target) and os.path.samefile(target, source):
            raise ValueError(f"--write-fixed {path} would overwrite its input {source}: name another file")
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise ValueError(f"--write-fixed {path} cannot be written: name a file in a folder that exists")
    with atomic_write(os.path.realpath(path)) as file:
        file.write(json.dumps(content).encode())


def list_done(done: dict[str, list[str]], left: dict[str, list[str]], shown: int = 5) -> str:
    """Return what was repaired and what was left as text.

    Args:
        done: from `repair`.
        left: kinds of problems of the repaired content.
        shown: largest number of places to name for each.
    """
    lines = []
    for title, kinds in (("repaired", done), ("left, as it may mean several things", left)):
        lines += [f"{title}:"] if kinds else []
        for kind, places in kinds.items():
            more = ", ..." if len(places) > shown else ""
            lines.append(f"  {kind} ({len(places)}): {', '.join(places[:shown])}{more}")
    return "\n".join(lines or ["nothing to repair"])


def problems_left(content: Any, source: str, images: str) -> dict[str, list[str]]:
    """Return the problems of a content that stop training, by kind; files are looked for, not opened."""
    found = find_problems(content, source, images).kinds
    entries = content.get("images", []) if isinstance(content, dict) else []
    index = FolderIndex(images)
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not fault_of(name, images) and not os.path.isfile(os.path.join(images, str(name))):
            found.setdefault("image file does not exist", []).append(f"{name}{index.hint(name)}")
    return found


def _repair_images(entries: list[Any], folder: str, reader: ImageReader, note: Note) -> None:
    index = FolderIndex(folder)
    names = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    named = {name for name in names if isinstance(name, str)}
    for entry in (entry for entry in entries if isinstance(entry, dict)):
        label, name = f"image {entry.get('id')}", entry.get("file_name")
        if isinstance(name, str) and (fault_of(name, folder) or not os.path.isfile(os.path.join(folder, name))):
            found, _ = index.candidate(name)
            if found and found not in named:
                named.add(found)
                entry["file_name"] = found
                note("file_name is that of the file now", f"{label} ({name!r} is {found!r})")
        size = (as_id(entry.get("width")), as_id(entry.get("height")))
        if not all(side is not None and side > 0 for side in size):
            size = _size_of_file(folder, entry.get("file_name"), reader) or (None, None)
        for key, side in zip(("width", "height"), size, strict=True):
            value = entry.get(key)
            if side is not None and (not is_id(value) or value != side):
                entry[key] = side
                note(f"{key} is an integer now", f"{label} ({value!r} is {side})")


def _size_of_file(folder: str, name: Any, reader: ImageReader) -> tuple[int, int] | None:
    if fault_of(name, folder):
        return None
    try:
        with open(os.path.join(folder, name), "rb") as file, reader.open(file) as image:
            return size_as_read(image, reader.exif, None)
    except READ_ERRORS:
        return None


def _drop_strays(content: dict[str, Any], note: Note) -> None:
    """Remove annotations of images that are not listed, unless one with a wrong id may be meant."""
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in content.get("images", [])]
    if not all(map(is_id, ids)) or len(set(ids)) < len(ids) or not ids:
        return
    known, kept = set(ids), []
    known |= {as_id(entry["original_id"]) for entry in content["images"] if "original_id" in entry}
    for entry in content.get("annotations", []):
        if isinstance(entry, dict) and is_id(entry.get("image_id")) and entry["image_id"] not in known:
            note("annotation of an image that is not listed is removed", f"{entry.get('id')} ({entry['image_id']})")
        else:
            kept.append(entry)
    if "annotations" in content:
        content["annotations"] = kept


def _repair_annotation(entry: dict[str, Any], label: str, note: Note) -> None:
    flag = entry.get("iscrowd", 0)
    text = "" if flag is None else str(flag).strip().lower()
    if (not is_id(flag) or flag not in (0, 1)) and text in FLAGS:
        entry["iscrowd"] = FLAGS[text]
        note("iscrowd is 0 or 1 now", f"{label} ({flag!r})")
    area = entry.get("area")
    if isinstance(area, str) and (number := _number(area)) is not None:
        entry["area"] = number
        note("area is a number now", f"{label} ({area!r})")
    box = entry.get("bbox")
    numbers = _box_numbers(box)
    if numbers is not None and numbers != box:
        entry["bbox"] = numbers
        note("bbox is four numbers now", f"{label} ({box!r})")


def _repair_box(entry: dict[str, Any], note: Note) -> None:
    """Take a box that is missing or has no area from the segmentation."""
    box, numbers = entry.get("bbox"), _box_numbers(entry.get("bbox"))
    if numbers is None or not (all(map(math.isfinite, numbers)) and numbers[2] > 0 and numbers[3] > 0):
        outline = _box_of_outline(entry.get("segmentation"))
        if outline is not None:
            entry["bbox"] = outline
            note("bbox is that of the segmentation now", f"annotation {entry.get('id')} ({box!r})")


def _repair_layout(content: dict[str, Any], note: Note) -> bool:
    """Convert all boxes of a file whose boxes are all of one other kind, where that is certain.

    Returns:
        Whether all boxes and outlines of the file are in pixels.
    """
    found = find_box_format(content.get("images"), content.get("annotations"))
    if found.is_coco or not found.layout:
        return not found.fractions
    entries = [entry for entry in content["images"] if isinstance(entry, dict)]
    sizes = {entry["id"]: (entry.get("width"), entry.get("height")) for entry in entries if is_id(entry.get("id"))}
    for entry in (entry for entry in content["annotations"] if isinstance(entry, dict)):
        numbers, image = _box_numbers(entry.get("bbox")), entry.get("image_id")
        size = sizes.get(image) if is_id(image) else None
        if numbers is not None and all(map(math.isfinite, numbers)) and size:
            (x, y, w, h), (width, height) = numbers, size
            if isinstance(width, int) and isinstance(height, int):
                entry["bbox"] = found.convert((x, y, w, h), width, height)
                area = _number(entry.get("area"))
                if found.fractions or (area is not None and math.isclose(area, w * h, rel_tol=0.01)):
                    entry.pop("area", None)  # it is that of the numbers that were wrong
    note(f"{found.fault()}: converted", "all boxes")
    return not found.fractions


def _box_numbers(box: Any) -> list[float] | None:
    """Return the four numbers that a box means: also of texts, and of an object with x, y, width and height."""
    if isinstance(box, dict):
        names = ("x", "y", "width", "height") if "width" in box else ("x", "y", "w", "h")
        box = [box.get(name) for name in names]
    if not isinstance(box, list) or len(box) != 4:
        return None
    numbers = [_number(value) for value in box]
    return None if any(number is None for number in numbers) else [number for number in numbers if number is not None]


def _number(value: Any) -> float | None:
    number = as_number(value)
    return number if is_number(number) else None


def _box_of_outline(outline: Any) -> list[float] | None:
    """Return the box x, y, width, height around polygons or a mask of run lengths; None where it has no area."""
    if isinstance(outline, dict):
        return _box_of_mask(outline)
    polygons = outline if isinstance(outline, list) and outline and isinstance(outline[0], list) else [outline]
    points: list[float] = []
    for polygon in polygons:
        numbers = [_number(value) for value in polygon] if isinstance(polygon, list) else []
        finite = [number for number in numbers if number is not None and math.isfinite(number)]
        if len(finite) < max(6, len(numbers)) or len(finite) % 2:
            return None
        points += finite
    x, y = min(points[0::2]), min(points[1::2])
    w, h = max(points[0::2]) - x, max(points[1::2]) - y
    return [x, y, w, h] if w > 0 and h > 0 else None


def _box_of_mask(outline: dict[str, Any]) -> list[float] | None:
    size, counts = outline.get("size"), outline.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_id, size)):
        return None
    # pycocotools reads compressed counts, a text, without checking them
    if not isinstance(counts, list) or not all(is_id(count) and count >= 0 for count in counts):
        return None
    if sum(counts) != size[0] * size[1]:
        return None
    box = [float(value) for value in mask.toBbox(mask.frPyObjects({"size": size, "counts": counts}, *size))]
    return box if box[2] > 0 and box[3] > 0 else None
