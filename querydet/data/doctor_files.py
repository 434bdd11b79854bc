"""Diagnosis of image files: missing, broken, of another size, turned, deep, transparent, of several pages, equal."""

import collections
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from PIL import Image, ImageFile

from querydet.data.diagnosis import CHANGES, NOTE, Diagnosis, Treatment
from querydet.data.file_names import FolderIndex, fault_of
from querydet.data.media import READ_ERRORS, has_pages
from querydet.data.orientation import (
    EXIF_SWITCH,
    SIDEWAYS,
    UPRIGHT,
    annotated_as_stored,
    orientation_of,
    size_as_read,
    stored_size,
)
from querydet.data.pixels import PIXEL_RANGE, is_deep, is_nearly_black
from querydet.utils.digest import hash_file

EXIF_EFFECTS = {
    "apply": "turned as it says (exif=apply)",
    "ignore": "ignored (exif=ignore)",
    "match": "turned unless the annotated size is that of the stored pixels (exif=match)",
}


def examine_files(
    images: Sequence[dict[str, Any]],
    folder: str,
    treatment: Treatment,
    files: str,
    diagnosis: Diagnosis,
    progress: Callable[[int, int], None],
) -> None:
    """Examine the files of the entries of a json.

    Args:
        images: entries with an id.
        folder: of the images.
        treatment: how the config treats problems.
        files: "exist", "header" or "decode", see `data.doctor.examine`.
        diagnosis: gets the findings.
        progress: called after every file with the number of files done and the total.
    """
    index = FolderIndex(folder)
    as_stored: dict[str, bool] = {}  # of turned images: whether the annotated size is that of the stored pixels
    for done, image in enumerate(images, start=1):
        name = image.get("file_name")
        if fault_of(name, folder):
            continue  # reported already
        path = os.path.join(folder, str(name))
        if not os.path.isfile(path):
            gravity, effect = treatment.missing_image()
            diagnosis.add(gravity, "image file does not exist", effect, f"{name}{index.hint(name)}")
        elif files != "exist":
            _examine_file(path, image, treatment, files == "decode", diagnosis, as_stored)
        progress(done, len(images))
    _examine_doubtful(as_stored, treatment, diagnosis)
    for names in _equal(diagnosis.digests.items()):
        effect = "the same picture counts several times, with the objects of each"
        diagnosis.add(NOTE, "files are equal", effect, " = ".join(names))


def name_of(image: dict[str, Any]) -> str:
    """Return the file name of an entry, or its id."""
    return str(image.get("file_name") or f"image {image['id']}")


def _examine_file(
    path: str,
    image: dict[str, Any],
    treatment: Treatment,
    decode: bool,
    diagnosis: Diagnosis,
    as_stored: dict[str, bool],
) -> None:
    name, size = name_of(image), _annotated_size(image)
    gravity, effect = treatment.bad_image()
    truncated, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with open(path, "rb") as content, treatment.reader.open(content) as file:
            orientation, stored = orientation_of(file), stored_size(file)
            found = size_as_read(file, treatment.reader.exif, size)
            _examine_head(name, file, treatment, diagnosis)
            if decode:
                _examine_pixels(name, file, treatment, diagnosis)
                diagnosis.digests[name] = hash_file(path)
    except READ_ERRORS as error:
        diagnosis.add(gravity, "image file cannot be read", effect, f"{name} ({type(error).__name__}: {error})")
        return
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    if size is not None and found != size:
        way = f", see {EXIF_SWITCH}" if found == size[::-1] and orientation in SIDEWAYS else ""
        place = f"{name} ({size[0]}x{size[1]} annotated, {found[0]}x{found[1]} found{way})"
        diagnosis.add(gravity, "image has another size than annotated", effect, place)
        if orientation not in SIDEWAYS:
            diagnosis.other_sizes[image["id"]] = found
    if orientation != UPRIGHT:
        as_stored[name] = annotated_as_stored(stored, orientation, size)


def _annotated_size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Return the annotated (width, height); None where it is no size, which is reported elsewhere."""
    width, height = image.get("width"), image.get("height")
    sides = [side for side in (width, height) if isinstance(side, int | float) and 0 < side < 2**31 and side % 1 == 0]
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else None


def _examine_doubtful(as_stored: dict[str, bool], treatment: Treatment, diagnosis: Diagnosis) -> None:
    """Report turned images whose size tells nothing in a set that has others which are annotated as they are stored."""
    if treatment.reader.exif == "ignore" or not any(as_stored.values()):
        return
    effect = f"turned, though others are annotated without turning: compare boxes, and see {EXIF_SWITCH}=ignore"
    for name in (name for name, stored in as_stored.items() if not stored):
        diagnosis.add(CHANGES, "EXIF orientation that others of the set ignore", effect, name)


def _examine_head(name: str, file: Image.Image, treatment: Treatment, diagnosis: Diagnosis) -> None:
    orientation = orientation_of(file)
    if orientation != UPRIGHT:
        kind, effect = "EXIF orientation", EXIF_EFFECTS[treatment.reader.exif]
        diagnosis.add(NOTE, kind, effect, f"{name} (orientation {orientation})")
    if has_pages(file):
        diagnosis.add(NOTE, "file of several pages or frames", "the first is used", name)
    if file.has_transparency_data:
        effect = "left out: colours count as they are stored"
        diagnosis.add(NOTE, "image with transparency", effect, name)
    if is_deep(file.mode):
        effect = "16 bits by bit depth, floats by range, others by pixel_range"
        if treatment.reader.pixel_range is not None:
            effect = f"by pixel_range={treatment.reader.pixel_range}"
        diagnosis.add(NOTE, "image of more than 8 bits", effect, f"{name} (mode {file.mode})")


def _examine_pixels(name: str, file: Image.Image, treatment: Treatment, diagnosis: Diagnosis) -> None:
    deep = is_deep(file.mode)
    pixels = treatment.reader(file)
    if deep and is_nearly_black(pixels):
        effect = f"learned as it is: set {PIXEL_RANGE} if the data have fewer bits"
        diagnosis.add(CHANGES, "image of more than 8 bits that is nearly black", effect, name)


def _equal(digests: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Group the names of files of equal content; files without duplicates are left out."""
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for name, digest in digests:
        groups[digest].append(name)
    return [names for names in groups.values() if len(names) > 1]
