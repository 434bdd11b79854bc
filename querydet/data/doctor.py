"""Diagnosis of a COCO-format data set: every problem and oddity, and how training would treat it.

`data.coco` stops at the first kind of problem that cannot be repaired; here all of them are collected into one report.
Format: https://cocodataset.org/#format-data (object detection).
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

STOPS, CHANGES, NOTE = "stops", "changes", "note"  # severity of a finding
FILE_CHECKS = ("none", "exist", "header", "decode")
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height when the image is read
FEW_OBJECTS = 10  # classes with fewer objects are reported
REPAIRS = {
    "clipped": ("box leaves its image", "clipped to the image"),
    "outside": ("box lies outside its image", "dropped"),
    "empty": ("box of zero or negative size", "dropped"),
    "nonfinite": ("box is NaN or infinite", "dropped"),
}


@dataclass(frozen=True)
class Treatment:
    """How a config treats problems of a data set; the defaults are those of the shipped configs.

    Args:
        on_bad_image: of the mapper.
        check_files: of the data set.
        num_classes: of the model; None skips the comparison.
        num_queries: of the model; None skips the comparison.
        training: whether the set is used for training, not evaluation.
    """

    on_bad_image: str = "raise"
    check_files: bool = True
    num_classes: int | None = None
    num_queries: int | None = None
    training: bool = True

    def bad_image(self) -> tuple[str, str]:
        """Return the severity and the effect of an image file that cannot be used."""
        if self.on_bad_image == "raise":
            return STOPS, "the run stops when it comes to the image (on_bad_image=skip goes on)"
        if self.training:
            return CHANGES, "skipped and counted, another image takes its place"
        return CHANGES, "left out of the evaluation, its objects count as not found"

    def missing_image(self) -> tuple[str, str]:
        """Return the severity and the effect of an image file that does not exist."""
        if self.check_files:
            return STOPS, "stops before the first step (check_files=False and on_bad_image=skip go on)"
        return self.bad_image()


@dataclass
class Finding:
    """One kind of problem or oddity, with all places where it occurs."""

    gravity: str  # STOPS, CHANGES or NOTE
    kind: str
    effect: str  # how training treats it
    places: list[str] = field(default_factory=list)


@dataclass
class Diagnosis:
    """All findings of a data set."""

    source: str
    images: int = 0
    objects: int = 0
    classes: list[str] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # of image files, to compare data sets

    def add(self, gravity: str, kind: str, effect: str, place: str) -> None:
        """Add one place to the finding of its kind."""
        self.findings.setdefault(kind, Finding(gravity, kind, effect)).places.append(place)

    @property
    def stops(self) -> bool:
        """Return whether a finding would keep training from starting or finishing."""
        return any(finding.gravity == STOPS for finding in self.findings.values())


def examine(
    annotations: str,
    images: str,
    treatment: Treatment,
    files: str = "decode",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Examine a data set.

    Args:
        annotations: path of the json.
        images: folder of the images.
        treatment: how the config treats problems.
        files: depth of the check of image files: "none", "exist", "header" (size and orientation), or "decode" (every
            pixel, and duplicate files).
        progress: called after every image file with the number of files done and the total.

    Raises:
        FileNotFoundError: the annotation file does not exist.
        ValueError: the annotation file is not json, or `files` is unknown.
    """
    if files not in FILE_CHECKS:
        raise ValueError(f"files has to be one of {', '.join(FILE_CHECKS)}, got {files!r}")
    content = read_json(annotations)
    diagnosis = Diagnosis(annotations)
    for kind, places in find_problems(content, annotations).kinds.items():
        for place in places:
            diagnosis.add(STOPS, kind, "stops before the first step", place)
    if not isinstance(content, dict):
        return diagnosis
    listed = {key: _dicts(content.get(key)) for key in ("images", "annotations", "categories")}
    diagnosis.images = len(listed["images"])
    _examine_categories(listed["categories"], listed["annotations"], treatment, diagnosis)
    _examine_objects(listed["images"], listed["annotations"], treatment, diagnosis)
    _examine_names(listed["images"], diagnosis)
    if files != "none":
        _examine_files(listed["images"], images, treatment, files, diagnosis, progress)
    return diagnosis


def compare(train: Diagnosis, test: Diagnosis) -> None:
    """Report in `test` those of its image files that are, byte for byte, also in `train`; both need "decode"."""
    trained = {digest: name for name, digest in train.digests.items()}
    for name, digest in test.digests.items():
        if digest in trained:
            effect = "trained on and tested on: the result is better than the model"
            place = f"{name} (in training: {trained[digest]})"
            test.add(NOTE, "image is also in the training data", effect, place)


def _dicts(entries: Any) -> list[dict[str, Any]]:
    """Return the entries that can be examined further; `find_problems` reported the others."""
    entries_by_id: dict[Any, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and is_id(entry.get("id")):
            entries_by_id.setdefault(entry["id"], entry)
    return list(entries_by_id.values())


def _examine_categories(
    categories: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]],
    treatment: Treatment,
    diagnosis: Diagnosis,
) -> None:
    ids = sorted(category["id"] for category in categories)
    names = {category["id"]: str(category.get("name")) for category in categories}
    diagnosis.classes = [names[identifier] for identifier in ids]
    if ids and ids != list(range(ids[0], ids[0] + len(ids))):
        present = set(ids)
        gaps = [str(missing) for missing in range(ids[0], min(ids[-1], ids[0] + 10**6)) if missing not in present]
        effect = f"the {len(ids)} ids become classes 0 to {len(ids) - 1}, in their order"
        for gap in gaps:
            diagnosis.add(NOTE, "gap in the category ids", effect, gap)
    if treatment.num_classes is not None and treatment.num_classes != len(ids):
        effect = f"stops before the first step: set model.num_classes={len(ids)}"
        diagnosis.add(STOPS, "wrong number of classes", effect, f"the model has {treatment.num_classes}")
    counts = collections.Counter(item.get("category_id") for item in annotations if item.get("iscrowd", 0) != 1)
    for identifier, name in zip(ids, diagnosis.classes, strict=True):
        count = counts[identifier]
        if not count:
            diagnosis.add(NOTE, "class without objects", "it is never learned, or never evaluated", name)
        elif count < FEW_OBJECTS and treatment.training:
            kind = f"class with fewer than {FEW_OBJECTS} objects"
            diagnosis.add(NOTE, kind, "hardly learned", f"{name} ({count})")


def _examine_objects(
    images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], treatment: Treatment, diagnosis: Diagnosis
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
        diagnosis.objects += 1
        kept, repair = repair_box(box, *(int(side) for side in sizes[image]))
        if repair:
            kind, effect = REPAIRS[repair]
            diagnosis.add(CHANGES, kind, effect, f"{label} ({', '.join(f'{value:g}' for value in box)})")
        if kept is None:
            continue
        key = (image, item.get("category_id"), *box, item.get("iscrowd", 0))
        if key in seen:
            effect = "two queries learn to find one object"
            diagnosis.add(NOTE, "object is annotated twice", effect, f"{label} in image {image}")
        seen.add(key)
        if item.get("iscrowd", 0) == 1:
            effect = "not trained on; in the evaluation detections in it do not count"
            diagnosis.add(NOTE, "crowd region", effect, label)
            crowds.add(image)
        else:
            objects[image] += 1
    _examine_counts(images, objects, crowds, treatment, diagnosis)


def _examine_counts(
    images: Sequence[dict[str, Any]],
    objects: collections.Counter[Any],
    crowds: set[Any],
    treatment: Treatment,
    diagnosis: Diagnosis,
) -> None:
    for image in images:
        name, count = _name(image), objects[image["id"]]
        if not count:
            kind = "image with nothing but crowd regions" if image["id"] in crowds else "image without objects"
            diagnosis.add(NOTE, kind, "kept: all of it is background", name)
        elif treatment.num_queries is not None and count > treatment.num_queries:
            effect = f"more than the {treatment.num_queries} queries: the others are not learned, or not found"
            diagnosis.add(CHANGES, "image with more objects than queries", effect, f"{name} ({count})")


def _examine_names(images: Sequence[dict[str, Any]], diagnosis: Diagnosis) -> None:
    counts = collections.Counter(image.get("file_name") for image in images)
    for name, count in counts.items():
        if count > 1 and isinstance(name, str):
            effect = "trained on that often in an epoch, each time with its own objects alone"
            diagnosis.add(NOTE, "file is listed several times", effect, f"{name} ({count} times)")


def _examine_files(
    images: Sequence[dict[str, Any]],
    folder: str,
    treatment: Treatment,
    files: str,
    diagnosis: Diagnosis,
    progress: Callable[[int, int], None],
) -> None:
    for done, image in enumerate(images, start=1):
        name = image.get("file_name")
        if not isinstance(name, str) or not name or leaves_folder(name):
            continue  # reported already
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            gravity, effect = treatment.missing_image()
            diagnosis.add(gravity, "image file does not exist", effect, name)
        elif files != "exist":
            _examine_file(path, image, treatment, files == "decode", diagnosis)
        progress(done, len(images))
    for names in _equal(diagnosis.digests.items()):
        effect = "the same picture counts several times, with the objects of each"
        diagnosis.add(NOTE, "files are equal", effect, " = ".join(names))


def _examine_file(path: str, image: dict[str, Any], treatment: Treatment, decode: bool, diagnosis: Diagnosis) -> None:
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
                    diagnosis.digests[name] = hashlib.sha256(content.read()).hexdigest()
    except READ_ERRORS as error:
        diagnosis.add(gravity, "image file cannot be read", effect, f"{name} ({type(error).__name__}: {error})")
        return
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    if (width, height) != size:
        place = f"{name} ({size[0]}x{size[1]} annotated, {width}x{height} found)"
        diagnosis.add(gravity, "image has another size than annotated", effect, place)


def _equal(digests: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Group the names of files of equal content; files without duplicates are left out."""
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for name, digest in digests:
        groups[digest].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _name(image: dict[str, Any]) -> str:
    return str(image.get("file_name") or f"image {image['id']}")
