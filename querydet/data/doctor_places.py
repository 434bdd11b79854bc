"""Diagnosis of the places of boxes: against their outlines, the sizes of the files, and the images as a whole."""

from typing import Any

from querydet.data.diagnosis import CHANGES, NOTE, STOPS, Diagnosis, Treatment
from querydet.data.outline_conflict import BOXES, OUTLINES, find_conflict
from querydet.data.outlines import have_fractions
from querydet.data.resized import sizes_of_boxes, within_a_corner, within_a_frame


def examine_places(content: dict[str, Any], treatment: Treatment, diagnosis: Diagnosis) -> None:
    """Report what the places of all boxes together say.

    Args:
        content: the json; what is no list or no entry is passed over.
        treatment: how the config treats problems.
        diagnosis: gets the findings; `other_sizes` is read.
    """
    images, annotations = content.get("images"), content.get("annotations")
    stops = treatment.masks and treatment.check_boxes  # what contradicts is then reported as a problem
    if have_fractions(images, annotations) and not stops:
        effect = "taken as pixels" if treatment.masks else "the boxes are used; segmentation is not read"
        diagnosis.add(NOTE, "segmentation has fractions of the image instead of pixels", effect, diagnosis.source)
    conflict = find_conflict(images, annotations)
    if conflict and not stops and (conflict.right != OUTLINES or not treatment.check_boxes):
        gravity = NOTE if conflict.right == BOXES else CHANGES
        diagnosis.add(
            gravity, conflict.fault(), conflict.remedy(treatment.masks), f"annotation {conflict.first} for one"
        )
    if isinstance(images, list) and isinstance(annotations, list):
        meant = sizes_of_boxes(content, diagnosis.other_sizes) if diagnosis.other_sizes else ""
        place = f"{len(diagnosis.other_sizes)} images"
        if meant == "annotated":
            effect = "check-data --write-fixed scales them to the files"
            diagnosis.add(STOPS, "boxes are of the annotated sizes, which are not those of the files", effect, place)
        elif meant == "found":
            effect = "check-data --write-fixed writes the sizes of the files"
            diagnosis.add(STOPS, "width and height are wrong: boxes are of the sizes of the files", effect, place)
    if frame := within_a_frame(images, annotations):
        effect = f"learned as they are: look at some, they may be of a scale from 0 to {frame}"
        diagnosis.add(NOTE, f"no box reaches beyond {frame}", effect, diagnosis.source)
    if within_a_corner(images, annotations):
        effect = "learned as they are: look at some, they may be of images half the size"
        diagnosis.add(NOTE, "all boxes lie in the upper left quarter of their images", effect, diagnosis.source)
