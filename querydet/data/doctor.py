"""Finds what is wrong or unusual in a COCO-format data set, all of it, and says what training would do about it.

`querydet.data.coco` stops at the first kind of trouble that cannot be repaired; here nothing stops, so that one report
names everything. Format: https://cocodataset.org/#format-data (object detection).
"""

import collections
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageFile

from querydet.data.coco_checks import find_problems, is_id, leaves_folder, read_json, repair_box
from querydet.data.mapper import READ_ERRORS

STOPS, CHANGES, NOTE = "stops", "changes", "note"  # how grave a finding is
FILE_CHECKS = ("none", "exist", "header", "decode")
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # orientations whose width and height change places when the image is read
FEW_OBJECTS = 10  # a class with fewer is named
REPAIRS = {
    "clipped": ("box leaves its image", "clipped to the image"),
    "outside": ("box lies outside its image", "dropped"),
    "empty": ("box of zero or negative size", "dropped"),
    "nonfinite": ("box is NaN or infinite", "dropped"),
}


@dataclass(frozen=True)
class Treatment:
    """What a config does with a data set; the defaults are those of the shipped configs.

    Args:
        on_bad_image: of the mapper.
        check_files: of the data set.
        num_classes: of the model; None: not compared.
        num_queries: of the model; None: not compared.
        training: whether the set is trained on.
    """

    on_bad_image: str = "raise"
    check_files: bool = True
    num_classes: int | None = None
    num_queries: int | None = None
    training: bool = True

    def bad_image(self) -> tuple[str, str]:
        """Gravity and effect of an image file that cannot be used."""
        if self.on_bad_image == "raise":
            return STOPS, "the run stops when it comes to the image (on_bad_image=skip goes on)"
        if self.training:
            return CHANGES, "skipped and counted, another image takes its place"
        return CHANGES, "left out of the evaluation, its objects count as not found"

    def missing_image(self) -> tuple[str, str]:
        """Gravity and effect of an image file that is not there."""
        if self.check_files:
            return STOPS, "stops before the first step (check_files=False and on_bad_image=skip go on)"
        return self.bad_image()


@dataclass
class Finding:
    """One kind of thing that was found."""

    gravity: str  # STOPS, CHANGES or NOTE
    kind: str
    effect: str  # what training does about it
    places: list[str] = field(default_factory=list)


@dataclass
class Diagnosis:
    """Everything that was found in a data set."""

    source: str
    images: int = 0
    objects: int = 0
    classes: list[str] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # of image files, to compare data sets

    def add(self, gravity: str, kind: str, effect: str, place: str) -> None:
        """Notes one place; places of one kind stand together."""
        self.findings.setdefault(kind, Finding(gravity, kind, effect)).places.append(place)

    @property
    def stops(self) -> bool:
        """Whether training could not begin, or not end."""
        return any(finding.gravity == STOPS for finding in self.findings.values())


def examine(
    annotations: str,
    images: str,
    treatment: Treatment,
    files: str = "decode",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Examines a data set.

    Args:
        annotations: path of the json.
        images: folder of the images.
        treatment: what the config does.
        files: how closely to look at image files: "none", "exist", "header" (size and orientation), or "decode" (every
            pixel, and equal files).
        progress: told after every image file how many of how many are done.

    Raises:
        FileNotFoundError: no annotation file.
        ValueError: the annotation file is not json, or an unknown ``files``.
    """
    if files not in FILE_CHECKS:
        raise ValueError(f"files has to be one of {', '.join(FILE_CHECKS)}, got {files!r}")
    content = read_json(annotations)
    found = Diagnosis(annotations)
    for kind, places in find_problems(content, annotations).kinds.items():
        for place in places:
            found.add(STOPS, kind, "stops before the first step", place)
    if not isinstance(content, dict):
        return found
    listed = {key: _dicts(content.get(key)) for key in ("images", "annotations", "categories")}
    found.images = len(listed["images"])
    _examine_categories(listed["categories"], listed["annotations"], treatment, found)
    _examine_objects(listed["images"], listed["annotations"], treatment, found)
    _examine_names(listed["images"], found)
    if files != "none":
        _examine_files(listed["images"], images, treatment, files, found, progress)
    return found


def compare(train: Diagnosis, test: Diagnosis) -> None:
    """Notes in ``test`` which of its image files are, byte for byte, also in ``train``; both were decoded."""
    trained = {digest: name for name, digest in train.digests.items()}
    for name, digest in test.digests.items():
        if digest in trained:
            effect = "trained on and tested on: the result is better than the model"
            found = f"{name} (in training: {trained[digest]})"
            test.add(NOTE, "image is also in the training data", effect, found)


def _dicts(entries: Any) -> list[dict[str, Any]]:
    """Entries that can be examined further; the others have been reported."""
    found: dict[Any, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and is_id(entry.get("id")):
            found.setdefault(entry["id"], entry)
    return list(found.values())


def _examine_categories(
    categories: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], treatment: Treatment, found: Diagnosis
) -> None:
    ids = sorted(category["id"] for category in categories)
    names = {category["id"]: str(category.get("name")) for category in categories}
    found.classes = [names[each] for each in ids]
    if ids and ids != list(range(ids[0], ids[0] + len(ids))):
        present = set(ids)
        gaps = [str(each) for each in range(ids[0], min(ids[-1], ids[0] + 10**6)) if each not in present]
        effect = f"the {len(ids)} ids become classes 0 to {len(ids) - 1}, in their order"
        for gap in gaps:
            found.add(NOTE, "gap in the category ids", effect, gap)
    if treatment.num_classes is not None and treatment.num_classes != len(ids):
        effect = f"stops before the first step: set model.num_classes={len(ids)}"
        found.add(STOPS, "wrong number of classes", effect, f"the model has {treatment.num_classes}")
    counts = collections.Counter(item.get("category_id") for item in annotations if item.get("iscrowd", 0) != 1)
    for each in ids:
        if not counts[each]:
            found.add(NOTE, "class without objects", "it is never learned, or never evaluated", names[each])
        elif counts[each] < FEW_OBJECTS and treatment.training:
            effect = "hardly learned"
            found.add(NOTE, f"class with fewer than {FEW_OBJECTS} objects", effect, f"{names[each]} ({counts[each]})")


def _examine_objects(
    images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], treatment: Treatment, found: Diagnosis
) -> None:
    sizes: dict[Any, tuple[Any, Any]] = {image["id"]: (image.get("width"), image.get("height")) for image in images}
    objects: collections.Counter[Any] = collections.Counter()
    crowds: set[Any] = set()
    seen: set[Any] = set()
    for item in annotations:
        label, image = f"annotation {item['id']}", item.get("image_id")
        box = item.get("bbox")
        if image not in sizes or not isinstance(box, list) or len(box) != 4:
            continue
        if not all(isinstance(value, int | float) for value in (*box, *sizes[image])):
            continue
        found.objects += 1
        width, height = sizes[image]
        kept, repair = repair_box(box, int(width), int(height))
        if repair:
            kind, effect = REPAIRS[repair]
            found.add(CHANGES, kind, effect, f"{label} ({', '.join(f'{value:g}' for value in box)})")
        if kept is None:
            continue
        key = (image, item.get("category_id"), *box, item.get("iscrowd", 0))
        if key in seen:
            effect = "two queries learn to find one object"
            found.add(NOTE, "object is annotated twice", effect, f"{label} in image {image}")
        seen.add(key)
        if item.get("iscrowd", 0) == 1:
            effect = "not trained on; in the evaluation detections in it do not count"
            found.add(NOTE, "crowd region", effect, label)
            crowds.add(image)
        else:
            objects[image] += 1
    _examine_counts(images, objects, crowds, treatment, found)


def _examine_counts(
    images: Sequence[dict[str, Any]],
    objects: collections.Counter[Any],
    crowds: set[Any],
    treatment: Treatment,
    found: Diagnosis,
) -> None:
    for image in images:
        name, count = _name(image), objects[image["id"]]
        if not count:
            kind = "image with nothing but crowd regions" if image["id"] in crowds else "image without objects"
            found.add(NOTE, kind, "kept: all of it is background", name)
        elif treatment.num_queries is not None and count > treatment.num_queries:
            effect = f"more than the {treatment.num_queries} queries: the others are not learned, or not found"
            found.add(CHANGES, "image with more objects than queries", effect, f"{name} ({count})")


def _examine_names(images: Sequence[dict[str, Any]], found: Diagnosis) -> None:
    counts = collections.Counter(image.get("file_name") for image in images)
    for name, count in counts.items():
        if count > 1 and isinstance(name, str):
            effect = "trained on that often in an epoch, each time with its own objects alone"
            found.add(NOTE, "file is listed several times", effect, f"{name} ({count} times)")


def _examine_files(
    images: Sequence[dict[str, Any]],
    folder: str,
    treatment: Treatment,
    files: str,
    found: Diagnosis,
    progress: Callable[[int, int], None],
) -> None:
    for number, image in enumerate(images, start=1):
        name = image.get("file_name")
        if not isinstance(name, str) or not name or leaves_folder(name):
            continue  # reported already
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            gravity, effect = treatment.missing_image()
            found.add(gravity, "image file does not exist", effect, name)
        elif files != "exist":
            _examine_file(path, image, treatment, files == "decode", found)
        progress(number, len(images))
    for names in _equal(found.digests.items()):
        effect = "the same picture counts several times, with the objects of each"
        found.add(NOTE, "files are equal", effect, " = ".join(names))


def _examine_file(path: str, image: dict[str, Any], treatment: Treatment, decode: bool, found: Diagnosis) -> None:
    name, size = _name(image), (image.get("width"), image.get("height"))
    gravity, effect = treatment.bad_image()
    truncated, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with Image.open(path) as file:
            width, height = file.size
            if file.getexif().get(EXIF_ORIENTATION) in SIDEWAYS:
                width, height = height, width
            if decode:
                file.load()
                with open(path, "rb") as content:
                    found.digests[name] = hashlib.sha256(content.read()).hexdigest()
    except READ_ERRORS as error:
        found.add(gravity, "image file cannot be read", effect, f"{name} ({type(error).__name__}: {error})")
        return
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    if (width, height) != size:
        place = f"{name} ({size[0]}x{size[1]} annotated, {width}x{height} found)"
        found.add(gravity, "image has another size than annotated", effect, place)


def _equal(digests: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Names of files of equal content, in groups of at least two."""
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for name, digest in digests:
        groups[digest].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _name(image: dict[str, Any]) -> str:
    return str(image.get("file_name") or f"image {image['id']}")
