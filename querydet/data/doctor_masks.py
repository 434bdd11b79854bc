"""Diagnosis of the outlines of a data set: those that cannot be read, and what becomes of the objects of others."""

from typing import Any

from querydet.data.diagnosis import CHANGES, NOTE, Diagnosis, Treatment
from querydet.data.mask_checks import MASK_REPAIRS, OutlineReader
from querydet.data.outlines import have_fractions
from querydet.data.problem_report import ProblemReport

EFFECTS = {
    "none": "the object is dropped",
    "outside": "the object is dropped",
    "apart": "the object is dropped",
    "points": "left out, the other polygons are used",
    "thin": "the box is used, with an empty mask",
    "box": "that of the outline is used",
    "region": "its box is the region",
}
NOT_READ = "segmentation is not read (masks=False)"


def examine_masks(
    content: dict[str, Any], treatment: Treatment, outlines: OutlineReader | None, diagnosis: Diagnosis
) -> None:
    """Report what is wrong with outlines, and count the masks.

    Args:
        content: the json; where its lists are no lists, nothing is reported.
        treatment: how the config treats problems.
        outlines: of `coco_checks.find_problems`, which reported what stops the run; None where masks are not used, and
            problems are only noted.
        diagnosis: gets the findings.
    """
    if not all(isinstance(content.get(key), list) for key in ("images", "annotations")):
        return
    if outlines is None:
        if have_fractions(content["images"], content["annotations"]):
            return  # reported with the places of the boxes
        if not any(isinstance(entry, dict) and entry.get("segmentation") for entry in content["annotations"]):
            return
        outlines, report = OutlineReader(check_boxes=False), ProblemReport(diagnosis.source)
        outlines.read(content, report)
        for kind, places in report.kinds.items():
            for place in places:
                diagnosis.add(NOTE, kind, NOT_READ, place)
    diagnosis.masks = sum(outline is not None for outline in outlines.segmentations.values())
    for repair, ids in outlines.repairs.items():
        kind, _ = MASK_REPAIRS[repair]
        for number in ids:
            gravity, effect = (CHANGES, EFFECTS[repair]) if treatment.masks else (NOTE, NOT_READ)
            diagnosis.add(gravity, kind, effect, f"annotation {number}")
