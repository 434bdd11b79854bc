"""The EXIF orientation of an image: applied, ignored, or as its annotation has it.

Cameras store the picture as the sensor saw it, and a number from 1 to 8 that says how to turn it. Annotation tools
differ: most show and annotate the turned picture, some the stored one.
"""

from PIL import Image

ORIENTATION_TAG = 0x0112
EXIF_RULES = ("apply", "ignore", "match")
EXIF_SWITCH = "dataloader.{train,test}.mapper.exif"
TIFF_WIDTH, TIFF_HEIGHT = 256, 257  # tags
UPRIGHT = 1
SIDEWAYS = (5, 6, 7, 8)  # they swap width and height
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INVERSES = {**{number: number for number in (2, 3, 4, 5, 7)}, 6: 8, 8: 6}


def check_exif_rule(rule: str) -> str:
    """Return the rule.

    Raises:
        ValueError: there is no such rule.
    """
    if rule not in EXIF_RULES:
        raise ValueError(f"exif must be one of {EXIF_RULES}, got {rule!r}")
    return rule


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1 to 8; 1 where the image has none, or one that cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION_TAG)
    except Exception:  # damaged metadata have many ways to fail, and say nothing of the pixels
        return UPRIGHT
    return found if found in _METHODS else UPRIGHT


def orient(image: Image.Image, rule: str = "apply", size: tuple[int, int] | None = None) -> Image.Image:
    """Turn an image as a rule says.

    Args:
        image: as opened.
        rule: "apply" turns by the orientation, "ignore" leaves the pixels as they are stored, and "match" chooses of
            the two the one that has `size`. Where both have it (orientations 2, 3 and 4, and squares) or neither,
            "match" turns.
        size: annotated (width, height) in pixels.
    """
    orientation = orientation_of(image)
    if orientation == UPRIGHT:
        return image
    image.load()
    turned_by_pillow = orientation_of(image) == UPRIGHT  # a TIFF is turned while it is read
    stored = image.size[::-1] if turned_by_pillow and orientation in SIDEWAYS else image.size
    if _stays(rule, stored, orientation, size):
        return image.transpose(_METHODS[_INVERSES[orientation]]) if turned_by_pillow else image
    return image if turned_by_pillow else image.transpose(_METHODS[orientation])


def size_as_read(image: Image.Image, rule: str, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return (width, height) of what `orient` returns, from the head of the file; arguments as there."""
    stored, orientation = stored_size(image), orientation_of(image)
    return stored if _stays(rule, stored, orientation, size) else turned_size(stored, orientation)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) of the pixels in the file of an image that was opened and not read yet."""
    tags = getattr(image, "tag_v2", None)
    if tags and TIFF_WIDTH in tags and TIFF_HEIGHT in tags:
        return int(tags[TIFF_WIDTH]), int(tags[TIFF_HEIGHT])  # Pillow already says the turned size
    return image.size


def turned_size(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) after turning pixels of the stored size."""
    return stored[::-1] if orientation in SIDEWAYS else stored


def annotated_as_stored(stored: tuple[int, int], orientation: int, size: tuple[int, int] | None) -> bool:
    """Return whether an annotated size is that of the stored pixels and not that of the turned ones."""
    return size == stored and size != turned_size(stored, orientation)


def _stays(rule: str, stored: tuple[int, int], orientation: int, size: tuple[int, int] | None) -> bool:
    return rule == "ignore" or (rule == "match" and annotated_as_stored(stored, orientation, size))
