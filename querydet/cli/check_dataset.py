"""``querydet check-data``, whose options are in `querydet.cli.arguments.check_dataset`."""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from querydet.cli.arguments.check_dataset import parse_arguments
from querydet.config import apply_overrides, get_config
from querydet.data.dataset_nodes import AnnotationFile, files_of
from querydet.data.diagnosis import CHANGES, STOPS, Diagnosis, Treatment
from querydet.data.doctor import compare, compare_classes, examine
from querydet.data.image_paths import set_file_names
from querydet.data.json_file import read_json
from querydet.data.media import reader_of
from querydet.data.objects365 import load_objects365, used_records
from querydet.data.record_columns import Records
from querydet.data.record_views import ChosenRecords
from querydet.data.repairs import list_done, problems_left, repair, write_fixed
from querydet.data.sources import sources_of
from querydet.data.validation_set import why_no_test_data
from querydet.utils.lazy import instantiate
from querydet.utils.targets import short_name

SPLITS = ("train", "test")
WORDS = {STOPS: "STOPS", CHANGES: "changes"}


def from_config(cfg: DictConfig) -> dict[str, tuple[str, str, Treatment]]:
    """Return annotations, images and treatment of the training and the test set of a config.

    Returns:
        By "train" and "test"; where several files are joined by "train 1", "train 2" and so on.

    Raises:
        ValueError: a data set that is not in COCO format.
    """
    found: dict[str, tuple[str, str, Treatment]] = {}
    for split in SPLITS:
        node = OmegaConf.select(cfg, f"dataloader.{split}")
        if node is None or (split == "test" and why_no_test_data(cfg)):
            continue
        # the classes of the test set are matched by name with those of the training set
        num_classes = None if found else OmegaConf.select(cfg, "model.num_classes")
        files = files_of(node.dataset) or _registered(node.dataset, split)
        for number, file in enumerate(files, start=1):
            treatment = Treatment(
                on_bad_image=OmegaConf.select(node, "mapper.on_bad_image", default="raise"),
                num_classes=num_classes,
                num_queries=OmegaConf.select(cfg, "model.selection.num_queries"),
                training=split == "train",
                reader=reader_of(node.get("mapper")),
                **_rules(file),
            )
            label = split if len(files) == 1 else f"{split} {number}"
            found[label] = (file.node.annotations, file.node.images, treatment)
    return found


def _rules(file: AnnotationFile) -> dict[str, Any]:
    """Return the settings of a treatment that the node of a file has."""
    node, chosen = file.node, partial(_chosen, file.start, file.stop)
    rules = {
        "check_files": bool(node.get("check_files", True)),
        "check_boxes": bool(node.get("check_boxes", True)),
        "masks": bool(node.get("masks", False)),
        "image_lists": tuple(node.get("image_lists", ())),
    }
    if short_name(node) == load_objects365.__name__:
        names = {key: node[key] for key in ("file_names", "missing_images") if key in node}
        return {**rules, "choose": partial(_used_and_chosen, names, chosen)}
    whole = file.start == 0 and file.stop is None
    return {**rules, "file_names": node.get("file_names", "auto"), "choose": None if whole else chosen}


def _chosen(start: int, stop: int | None, records: Records, folder: str) -> Records:
    return ChosenRecords(records, range(len(records))[start:stop])


def _used_and_chosen(
    names: dict[str, str], chosen: Callable[[Records, str], Records], records: Records, folder: str
) -> Records:
    return chosen(used_records(records, folder, **names), folder)


def _registered(node: DictConfig, split: str) -> list[AnnotationFile]:
    """Return the files of data sets of other loaders, which have to be loaded for that."""
    found = []
    for source in sources_of(instantiate(node)):
        file = OmegaConf.merge(node, {"annotations": source.json_file, "images": source.image_root})
        assert isinstance(file, DictConfig)
        found.append(AnnotationFile(file, source.start, source.stop))
    if not found or not all(file.node.images for file in found):
        raise ValueError(f"dataloader.{split}.dataset is not in COCO format: give --annotations and --images")
    return found


def report(split: str, found: Diagnosis, shown: int) -> str:
    """Return the findings of a data set as text.

    Args:
        split: name of the data set in the text.
        found: its findings.
        shown: largest number of places to name for each finding.
    """
    counts = f"{found.images} images, {found.objects} boxes, {len(found.classes)} classes"
    lines = [f"{split}: {found.source}: {counts}" + (f", {found.masks} masks" if found.masks else "")]
    order = {STOPS: 0, CHANGES: 1}
    rows = []
    for finding in sorted(found.findings.values(), key=lambda finding: order.get(finding.gravity, 2)):
        more = ", ..." if len(finding.places) > shown else ""
        places = ", ".join(finding.places[:shown]) + more
        rows.append((WORDS.get(finding.gravity, "note"), finding.kind, len(finding.places), finding.effect, places))
    if not rows:
        return "\n".join([*lines, "  nothing to report"])
    headers = ("", "found", "count", "what the config does", "where")
    return "\n".join([*lines, tabulate(rows, headers=headers, maxcolwidths=[None, 30, None, 40, 50])])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 1 when something would stop a training run."""
    args = parse_arguments(argv)
    if args.config_file:
        sets = from_config(apply_overrides(get_config(args.config_file), args.overrides))
    else:
        sets = {"data": (args.annotations, args.images, Treatment(masks=args.masks))}
    found = {
        split: examine(annotations, images, treatment, args.files, _progress)
        for split, (annotations, images, treatment) in sets.items()
    }
    trained, tested = ([item for label, item in found.items() if label.startswith(split)] for split in SPLITS)
    for first, second in itertools.product(trained, tested):
        compare(first, second)
    for each in tested if trained else ():
        compare_classes(trained[0], each)
    for split, diagnosis in found.items():
        print(report(split, diagnosis, args.show))
        print()
    stops = [split for split, diagnosis in found.items() if diagnosis.stops]
    print(f"The run would stop: see STOPS in {' and '.join(stops)}" if stops else "Nothing would stop the run")
    if args.json:
        _write(args.json, found)
    return _write_fixed(args) if args.write_fixed else int(bool(stops))


def _write_fixed(args: argparse.Namespace) -> int:
    """Write the repaired file; return the exit status."""
    content = read_json(args.annotations)
    if isinstance(content, dict):
        set_file_names(content.get("images"), "auto")
    content, done = repair(content, args.images)
    left = problems_left(content, args.write_fixed, args.images, masks=args.masks)
    write_fixed(args.write_fixed, args.annotations, content)
    print(list_done(done, left, args.show))
    print(f"wrote {args.write_fixed}: {'it still has problems, see above' if left else 'it passes the check'}")
    return int(bool(left))


def _write(path: str, found: dict[str, Diagnosis]) -> None:
    content: dict[str, Any] = {}
    for split, diagnosis in found.items():
        content[split] = {
            key: value for key, value in asdict(diagnosis).items() if key not in ("digests", "other_sizes")
        }
        content[split]["stops"] = diagnosis.stops
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    print(f"wrote {path}")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % 100 == 0 or done == total):
        print(f"\r{done} of {total} images", end="\n" if done == total else "", file=sys.stderr)
