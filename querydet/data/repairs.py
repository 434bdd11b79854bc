"""Repair of a COCO json: what has one possible meaning is written as it should be, everything else is left and named.

The input is not changed. What a repair did is listed by kind, with the places.
"""

import collections
import copy
import json
import os
from typing import Any

from querydet.data.coco_checks import find_problems
from querydet.data.entries import as_id, is_id
from querydet.data.file_names import FolderIndex, fault_of
from querydet.data.mask_checks import OutlineReader
from querydet.data.media import READ_ERRORS, ImageReader
from querydet.data.orientation import SIDEWAYS, orientation_of, size_as_read
from querydet.data.repair_boxes import box_numbers, number_of, repair_boxes
from querydet.data.repair_ids import Note, repair_ids
from querydet.data.resized import scale_annotations, sizes_of_boxes
from querydet.data.shifted_ids import category_shift, image_shift
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
    _unshift(content, note)
    _drop_strays(content, note)
    for position, annotation in enumerate(content.get("annotations", [])):
        if isinstance(annotation, dict):
            _repair_annotation(annotation, f"annotation {annotation.get('id', f'at position {position}')}", note)
    repair_boxes(content, note)
    _repair_sizes(content, images, reader or ImageReader(), note)
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


def problems_left(
    content: Any, source: str, images: str, reader: ImageReader | None = None, masks: bool = False
) -> dict[str, list[str]]:
    """Return the problems of a content that stop training, on masks too, by kind; of files, only the heads are read."""
    found = find_problems(content, source, images, outlines=OutlineReader() if masks else None).kinds
    entries = content.get("images", []) if isinstance(content, dict) else []
    index = FolderIndex(images)
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not fault_of(name, images) and not os.path.isfile(os.path.join(images, str(name))):
            found.setdefault("image file does not exist", []).append(f"{name}{index.hint(name)}")
        elif not fault_of(name, images) and (fault := _fault_of_file(images, entry, reader or ImageReader())):
            found.setdefault(fault, []).append(str(name))
    return found


def _fault_of_file(folder: str, entry: dict[str, Any], reader: ImageReader) -> str:
    """Return what keeps an image file from being used, as far as its head says; "" for nothing."""
    size = (as_id(entry.get("width")), as_id(entry.get("height")))
    if size[0] is None or size[1] is None:
        return ""  # reported already
    try:
        with open(os.path.join(folder, entry["file_name"]), "rb") as file, reader.open(file) as image:
            found = size_as_read(image, reader.exif, (size[0], size[1]))
    except READ_ERRORS:
        return "image file cannot be read"
    return "" if found == size else "image has another size than annotated"


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


def _repair_sizes(content: dict[str, Any], folder: str, reader: ImageReader, note: Note) -> None:
    """Write the sizes of the files, and scale boxes and outlines of images that were resized after their annotation."""
    listed = [entry for entry in content.get("images", []) if isinstance(entry, dict) and is_id(entry.get("id"))]
    found: dict[int, tuple[int, int]] = {}
    for entry in listed:
        size = _size_of_file(folder, entry.get("file_name"), reader, turned=False)
        annotated = (entry.get("width"), entry.get("height"))
        if size is not None and size != annotated and all(is_id(side) and side > 0 for side in annotated):
            found[entry["id"]] = size
    meant = sizes_of_boxes(content, found) if found else ""
    if meant == "annotated":
        scale_annotations(content, found)
        note("boxes are scaled to the files, which have another size than annotated", f"{len(found)} images")
    for entry in listed if meant else []:
        if entry["id"] in found:
            width, height = found[entry["id"]]
            note("size is that of the file now", f"image {entry['id']} ({entry['width']}x{entry['height']})")
            entry.update(width=width, height=height)


def _size_of_file(folder: str, name: Any, reader: ImageReader, turned: bool = True) -> tuple[int, int] | None:
    """Return (width, height) of an image as it is read; None where it cannot be, or is turned and `turned` is false."""
    if fault_of(name, folder):
        return None
    try:
        with open(os.path.join(folder, name), "rb") as file, reader.open(file) as image:
            if not turned and orientation_of(image) in SIDEWAYS:
                return None
            return size_as_read(image, reader.exif, None)
    except READ_ERRORS:
        return None


def _unshift(content: dict[str, Any], note: Note) -> None:
    """Correct ids of annotations that count from another number than the list, where that is certain."""
    annotations = content.get("annotations", [])
    for key, shift in (
        ("category_id", category_shift(content.get("categories"), annotations)),
        ("image_id", image_shift(content.get("images"), annotations)),
    ):
        if shift and shift.is_certain:
            for annotation in annotations:
                annotation[key] = shift.ids[annotation[key]]
            note(f"{key} was {shift.rule}: corrected", "all annotations")


def _drop_strays(content: dict[str, Any], note: Note) -> None:
    """Remove annotations of images that are not listed, unless one with a wrong id may be meant."""
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in content.get("images", [])]
    if not all(map(is_id, ids)) or len(set(ids)) < len(ids) or not ids:
        return
    if image_shift(content.get("images"), content.get("annotations")):
        return  # a shift that is not certain
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
    if isinstance(area, str) and (number := number_of(area)) is not None:
        entry["area"] = number
        note("area is a number now", f"{label} ({area!r})")
    box = entry.get("bbox")
    numbers = box_numbers(box)
    if numbers is not None and numbers != box:
        entry["bbox"] = numbers
        note("bbox is four numbers now", f"{label} ({box!r})")
