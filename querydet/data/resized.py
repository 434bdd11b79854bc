"""Image files of another size than annotated: which of the two sizes the boxes are of.

A data set is annotated on copies of another size, or its files are shrunk later, and the json keeps the old sizes; or
only the sizes of the json are wrong. The boxes of these images tell: they lie within the size that they are of, and all
over it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from querydet.data.box_format import TOLERANCE_PX, annotated_boxes
from querydet.data.entries import is_id, is_number
from querydet.data.masks import BadOutlineError, to_bitmap
from querydet.data.outlines import box_of_outline
from querydet.utils.run_lengths import encode_masks

LEAST_BOXES = 5  # different ones, on images of another size
FILLED = 0.7  # share of both sides that the boxes have to reach
LEAST_LEAVING = 3  # boxes that leave a frame, which then is not theirs
SAME_ASPECT = 0.02  # relative difference of the two scales, else the files are no resized copies
CORNER = 0.52  # share of both sides beyond which no box reaches: they may be of images half the size
MANY_BOXES, MANY_IMAGES = 20, 5
EXCEPTIONS = 100  # one box in so many may be a mistake
Size = tuple[float, float]  # width, height


@dataclass(frozen=True)
class Extent:
    """How far the boxes of some images reach in frames of a size for each.

    Args:
        reach: largest x and y, in sides of the frame.
        leaving: boxes that leave the frame.
        count: of boxes.
    """

    reach: Size
    leaving: int
    count: int

    @property
    def fits(self) -> bool:
        """Return whether the boxes lie within the frame."""
        return self.leaving <= self.count // EXCEPTIONS

    @property
    def fills(self) -> bool:
        """Return whether the boxes lie within the frame and all over it."""
        return self.fits and min(self.reach) >= FILLED


def sizes_of_boxes(content: Any, found: Mapping[int, tuple[int, int]]) -> str:
    """Say which sizes the boxes of images are of whose files have another size than annotated.

    Args:
        content: the json.
        found: (width, height) of the files in pixels by id of these images.

    Returns:
        "annotated": the files are resized copies, the boxes have to be scaled; "found": only the sizes of the json are
        wrong; "" where it is not sure.
    """
    images = _listed(content, found)
    annotations = content.get("annotations", [])
    annotated = _extent(images, annotations)
    if annotated.count < LEAST_BOXES:
        return ""
    files = _extent(
        [{**image, "width": found[image["id"]][0], "height": found[image["id"]][1]} for image in images], annotations
    )
    explained = annotated.fills or (annotated.fits and files.leaving >= LEAST_LEAVING)
    if explained and not files.fills and all(_is_resized(image, found[image["id"]]) for image in images):
        return "annotated"
    return "found" if files.fills and not annotated.fills else ""


def scale_annotations(content: dict[str, Any], found: Mapping[int, tuple[int, int]]) -> None:
    """Scale boxes, areas and outlines in place, from the annotated sizes of images to those of their files.

    Args:
        content: the json.
        found: (width, height) of the files in pixels by id of the images.
    """
    listed = {image["id"]: (image["width"], image["height"]) for image in _listed(content, found)}
    scales = {number: (found[number][0] / size[0], found[number][1] / size[1]) for number, size in listed.items()}
    for entry in content["annotations"]:
        scale = scales.get(entry["image_id"]) if isinstance(entry, dict) and is_id(entry.get("image_id")) else None
        if scale is None:
            continue
        if isinstance(entry.get("bbox"), list) and all(map(is_number, entry["bbox"])):
            entry["bbox"] = _scaled(entry["bbox"], scale)
        if is_number(entry.get("area")):
            entry["area"] *= scale[0] * scale[1]
        outline = entry.pop("segmentation", None)  # what cannot be scaled is left out
        if isinstance(outline, list) and box_of_outline(outline):
            nested = outline if isinstance(outline[0], list) else [outline]
            entry["segmentation"] = [_scaled(list(map(float, polygon)), scale) for polygon in nested]
        elif isinstance(outline, dict):
            entry.update(_scaled_mask(outline, listed[entry["image_id"]], found[entry["image_id"]]))


def _listed(content: Any, found: Mapping[int, tuple[int, int]]) -> list[dict[str, Any]]:
    """Return the images whose files have another size than annotated."""
    images = (image for image in content.get("images", []) if isinstance(image, dict) and is_id(image.get("id")))
    return [image for image in images if image["id"] in found]


def _scaled(numbers: list[float], scale: Size) -> list[float]:
    """Scale x and y, which take turns."""
    return [round(number * scale[position % 2], 3) for position, number in enumerate(numbers)]


def _scaled_mask(mask: dict[str, Any], old: tuple[int, int], new: tuple[int, int]) -> dict[str, Any]:
    """Return the entry of run lengths of another size (width, height); none where they cannot be read."""
    try:
        bitmap = to_bitmap(mask, int(old[1]), int(old[0]))
    except BadOutlineError:
        return {}
    scaled = np.asarray(Image.fromarray(bitmap.astype(np.uint8)).resize(new, Image.Resampling.NEAREST))
    return {"segmentation": encode_masks(torch.from_numpy(scaled[None] == 1))[0]}


def within_a_corner(images: Any, annotations: Any) -> bool:
    """Return whether all boxes of many lie in the upper left quarter of their images."""
    extent = _extent(images, annotations)
    count = len(images) if isinstance(images, list) else 0
    return extent.count >= MANY_BOXES and count >= MANY_IMAGES and max(extent.reach) <= CORNER


def within_a_frame(images: Any, annotations: Any) -> int:
    """Return 100 or 1000 where all boxes of many end there, though their images are larger; else 0."""
    boxes, far, side = set(), (0.0, 0.0), float("inf")
    for _, (x, y, w, h), width, height, _ in annotated_boxes(images, annotations):
        boxes.add((x, y, w, h))
        far, side = (max(far[0], x + w), max(far[1], y + h)), min(side, width, height)
    for frame in (100, 1000):
        is_filled = min(far) > 0.9 * frame and max(far) <= frame
        if is_filled and len(boxes) >= MANY_BOXES and side > 1.1 * frame:
            return frame
    return 0


def _extent(images: Any, annotations: Any) -> Extent:
    boxes, reach, leaving = set(), (0.0, 0.0), 0
    for _, (x, y, w, h), width, height, _ in annotated_boxes(images, annotations):
        if w > 0 and h > 0 and width > 0 and height > 0:
            boxes.add((x, y, w, h))
            reach = max(reach[0], (x + w) / width), max(reach[1], (y + h) / height)
            leaving += x + w > width + TOLERANCE_PX or y + h > height + TOLERANCE_PX
    return Extent(reach, leaving, len(boxes))


def _is_resized(image: dict[str, Any], size: tuple[int, int]) -> bool:
    """Return whether a file has the shape of its annotated size, up to rounding to whole pixels."""
    x, y = size[0] / image["width"], size[1] / image["height"]
    return abs(x - y) <= SAME_ASPECT * max(x, y) + 1 / min(image["width"], image["height"])
