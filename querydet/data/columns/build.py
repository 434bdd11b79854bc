"""The columns of a json, built once: read, checked, repaired, written, and described in a file beside them."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from typing import Any

from querydet.data.categories import Classes, find_classes
from querydet.data.coco_checks import REPAIR_HINT
from querydet.data.coco_records import IGNORED, REPAIRS, Loaded, ReadingRules, emptiness, file_stamp, repair_notes
from querydet.data.columns.assemble import Assembled, assemble
from querydet.data.columns.checks import find_problems, sampled_images, used_categories
from querydet.data.columns.collect import Collected, collect
from querydet.data.columns.files import ColumnsError, Layout
from querydet.data.columns.outlines import OutlinePass
from querydet.data.columns.records import DESCRIPTION, ColumnRecords, check_unchanged
from querydet.data.columns.sealed import read_sealed, write_sealed
from querydet.data.fingerprint import record_digest
from querydet.data.mask_checks import MASK_REPAIRS, OutlineReader
from querydet.data.outline_conflict import OUTLINES, find_conflict
from querydet.data.problem_report import ProblemReport
from querydet.utils.progress import ProgressBar

VERSION = 1  # of the columns; raised when they, or the rules by which boxes are repaired, change
MOST_LISTED = 100_000  # repaired annotations of a kind whose ids are kept
RAW = "raw"  # subfolder of what is only needed while the columns are built


@dataclass(frozen=True)
class Description:
    """What stands beside the columns of a json.

    Args:
        version: of the columns.
        rules: that decided on the records, as a dict.
        stamp: of the json, see `coco_records.file_stamp`.
        sha256: of the json.
        layout: of the columns.
        classes: of the data set, as a dict.
        annotated: whether the json has annotations.
        notes: for the log.
        repairs: see `coco_records.Loaded`; of each kind at most `MOST_LISTED`.
        oddities: see `coco_records.Loaded`.
        digest: of the records, see `fingerprint.record_digest`.
    """

    version: int
    rules: dict[str, Any]
    stamp: list[int]
    sha256: str
    layout: Layout
    classes: dict[str, Any]
    annotated: bool
    notes: list[str]
    repairs: dict[str, dict[str, list[int]]]
    oddities: list[str]
    digest: dict[str, Any]

    def load(self, folder: str, images: str) -> Loaded:
        """Open the columns.

        Args:
            folder: of the columns.
            images: folder of the image files.

        Raises:
            ColumnsError: the columns are damaged.
        """
        try:
            digests = {**self.digest, "annotations_sha256": self.sha256}
            records = ColumnRecords(folder, self.layout, images, self.rules["image_lists"], digests)
            classes = dict(self.classes)
            classes["index_of"] = {int(number): int(index) for number, index in classes["index_of"]}
            classes |= {key: tuple(classes[key]) for key in ("absent", "frequency")}
            check_unchanged(folder, self.sha256)  # another process may have replaced them while they were opened
            return Loaded(
                records, Classes(**classes), self.annotated, tuple(self.notes), self.repairs, tuple(self.oddities)
            )
        except ColumnsError:
            raise
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ColumnsError(f"their description is damaged: {error!r}") from error


def build(annotations: str, images: str, rules: ReadingRules, folder: str) -> None:
    """Build the columns of a json.

    Args:
        annotations: path of the json.
        images: folder of the images.
        rules: how it is read.
        folder: of the columns, empty.

    Raises:
        ValueError: the json cannot be used, or changed while it was read.
        OSError: the json cannot be read; the folder cannot be written, or the disk is full.
    """
    stamp, raw = file_stamp(annotations), os.path.join(folder, RAW)
    os.mkdir(raw)
    try:
        found = _collect(annotations, images, rules, raw)
    except ValueError:
        _refuse_changed(annotations, stamp)  # which explains what is wrong with it
        raise
    _refuse_changed(annotations, stamp)
    find_problems(found, annotations, images, rules).raise_if_any(REPAIR_HINT)
    classes = find_classes(found.categories, used_categories(found), rules.classes, annotations)
    assembled = _assemble(found, classes, folder, annotations, rules)
    oddities = _oddities(found, assembled, rules)
    notes = [*classes.notes, *_repair_notes(assembled), *oddities]
    if "annotations" in found.lists:
        notes += emptiness(assembled.objects, assembled.crowds)
    records = ColumnRecords(folder, assembled.layout, images, rules.image_lists)
    with ProgressBar(total=len(records), unit=" images", mininterval=1.0, desc="fingerprint of the records") as bar:
        digest = record_digest(records, classes.names, lambda: bar.update(1))
    description = Description(
        version=VERSION,
        rules=as_plain(rules),
        stamp=list(stamp),
        sha256=found.sha256,
        layout=assembled.layout,
        classes={**asdict(classes), "index_of": list(classes.index_of.items())},
        annotated="annotations" in found.lists,
        notes=notes,
        repairs={
            "boxes": {kind: list(ids[:MOST_LISTED]) for kind, ids in assembled.repairs.items()},
            "outlines": {kind: list(ids[:MOST_LISTED]) for kind, ids in assembled.outline_repairs.items()},
        },
        oddities=oddities,
        digest=digest,
    )
    shutil.rmtree(raw)
    write_description(folder, description)


def _collect(annotations: str, images: str, rules: ReadingRules, folder: str) -> Collected:
    title, size = f"reading {os.path.basename(annotations)}", os.path.getsize(annotations)
    with ProgressBar(total=size, unit="B", unit_scale=True, mininterval=1.0, desc=title) as bar:
        return collect(annotations, images, rules, folder, bar.update)


def _refuse_changed(annotations: str, stamp: tuple[int, ...]) -> None:
    if file_stamp(annotations) != stamp:
        raise ValueError(f"{annotations} changed while it was read: start again when it is complete")


def _assemble(found: Collected, classes: Classes, folder: str, source: str, rules: ReadingRules) -> Assembled:
    if not rules.masks:
        return assemble(found, classes, folder)
    report, reader = ProblemReport(source), OutlineReader(rules.check_boxes)
    assembled = assemble(found, classes, folder, OutlinePass(found, reader, report))
    if not report.kinds:
        reader.check_together(sampled_images(found), found.sample.entries, report)
    report.raise_if_any(REPAIR_HINT)
    return assembled


def as_plain(rules: ReadingRules) -> dict[str, Any]:
    """Return rules as they are when they come back from a json."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(rules)))
    return plain


def write_description(folder: str, description: Description) -> None:
    """Write the description of columns, whole or not at all."""
    write_sealed(os.path.join(folder, DESCRIPTION), asdict(description))


def read_description(folder: str) -> Description:
    """Read the description of columns.

    Raises:
        ColumnsError: there is none, it is of another version, or damaged.
    """
    content = read_sealed(os.path.join(folder, DESCRIPTION))
    if content.get("version") != VERSION:
        raise ColumnsError(f"they are of version {content.get('version')!r}, this one is {VERSION}")
    try:
        content["layout"] = {name: (kind, shape) for name, (kind, shape) in content["layout"].items()}
        return Description(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ColumnsError(f"their description is damaged: {error!r}") from error


def _repair_notes(assembled: Assembled) -> list[str]:
    words = {key: what for key, (_, what) in MASK_REPAIRS.items()}
    return [
        *repair_notes("boxes", assembled.repairs, REPAIRS),
        *repair_notes("annotations", assembled.outline_repairs, words),
    ]


def _oddities(found: Collected, assembled: Assembled, rules: ReadingRules) -> list[str]:
    oddities = [IGNORED.format(assembled.ignored)] if assembled.ignored else []
    conflict = find_conflict(sampled_images(found), found.sample.entries)
    if conflict and conflict.right != OUTLINES:
        oddities.append(f"{conflict.fault()}. {conflict.remedy(rules.masks)}")
    return oddities
