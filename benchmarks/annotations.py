"""Measures large annotation files: building their columns, opening them, and the memory of every process that does.

    python -m benchmarks.annotations --boxes 300000              # and the same file in memory, to compare
    python -m benchmarks.annotations --boxes 25000000 --no-memory --folder /large/disk
    python -m benchmarks.annotations --table

The file is like that of Objects365 v2: 15 boxes an image on average, 365 classes, and coordinates of as many digits;
its boxes are in no order. Everything is measured in new processes, of which the imports are not counted: the build, a
first process that opens the columns and reads every record, a second one that does so while the first one lives, and
a process that keeps the records in memory. Megabytes are those by which a process grows: `private` is its own memory,
`resident` includes the pages of the columns that it has touched, which all processes share, and `share` counts each of
these pages by the number of processes that have it (Pss of Linux).
"""

import argparse
import json
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.contest import origin_of_module
from querydet.data.coco_records import ReadingRules, read_records
from querydet.data.columns import read_columns

RESULTS = Path(__file__).resolve().parent / "results" / "annotations.json"
BOXES_PER_IMAGE, NUM_CLASSES = 15, 365  # Objects365 v2
STEP = 10_000  # entries that are written at once
MAX_SECONDS = 4 * 3600.0
PARTS = ("build", "first", "second", "in_memory")


def write_file(path: Path, boxes: int, seed: int = 0) -> None:
    """Write a json of random boxes, some at a time."""
    rng = np.random.default_rng(seed)
    images = max(1, boxes // BOXES_PER_IMAGE)
    sides = rng.integers(400, 1200, (images, 2))
    with path.open("w") as file:
        file.write('{"images": [')
        for start in range(0, images, STEP):
            lines = [_image(index, *sides[index].tolist()) for index in range(start, min(start + STEP, images))]
            file.write(", " * (start > 0) + ", ".join(lines))
        file.write('], "annotations": [')
        for start in range(0, boxes, STEP):
            count = min(STEP, boxes - start)
            owner = rng.integers(0, images, count)
            size = rng.uniform(5, 200, (count, 2))
            corner = rng.uniform(0, 1, (count, 2)) * (sides[owner] - size)
            rows = np.concatenate([corner, size], axis=1).tolist()
            numbers = rng.integers(1, NUM_CLASSES + 1, count).tolist()
            entries = zip(range(start, start + count), owner.tolist(), numbers, rows, strict=True)
            file.write(", " * (start > 0) + ", ".join(_annotation(*entry) for entry in entries))
        categories = [{"id": number, "name": f"class {number}"} for number in range(1, NUM_CLASSES + 1)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def _image(index: int, width: int, height: int) -> str:
    name = f"images/v1/patch{index % 51}/objects365_v1_{index:08d}.jpg"
    return json.dumps({"id": index, "file_name": name, "width": width, "height": height, "license": 5, "url": ""})


def _annotation(index: int, image: int, category: int, box: list[float]) -> str:
    entry = {"id": index, "iscrowd": int(index % 100 == 0), "isfake": 0, "area": box[2] * box[3], "isreflected": 0}
    return json.dumps({**entry, "bbox": box, "image_id": image, "category_id": category})


def megabytes() -> dict[str, float]:
    """Return the resident memory of this process, its own, and its share of what is shared, in MB."""
    text = Path("/proc/self/smaps_rollup").read_text()

    def total(name: str) -> float:
        return sum(map(int, re.findall(rf"^{name}: *(\d+) kB", text, re.MULTILINE))) / 1024

    return {"resident": total("Rss"), "private": total(r"Private_\w+"), "share": total("Pss")}


def _measure(annotations: str, part: str, results: Connection, go_on: Any) -> None:
    """Measure a part in this process; wait with everything open until it may end."""
    read: Callable[..., Any] = read_records if part == "in_memory" else read_columns
    before, start = megabytes(), time.perf_counter()
    records = read(annotations, "images", ReadingRules()).records
    seconds = time.perf_counter() - start
    opened, start = megabytes(), time.perf_counter()
    objects = sum(len(record["annotations"]) for record in records) if part != "build" else 0
    found = {"seconds": round(seconds, 2), "MB_opened": _growth(before, opened)}
    if part == "build":
        found["MB_most"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before["resident"], 1)
    else:
        found |= {"objects": objects, "seconds_of_reading_all": round(time.perf_counter() - start, 2)}
        found["MB_read"] = _growth(before, megabytes())
    results.send(found)
    go_on.wait(MAX_SECONDS)


def _growth(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    return {name: round(now[name] - before[name], 1) for name in now}


def measure(annotations: Path, in_memory: bool) -> dict[str, Any]:
    """Measure building and opening of a file whose columns are not there yet.

    Args:
        annotations: path of the json.
        in_memory: whether to measure a process that keeps the records in memory too.

    Raises:
        SystemExit: a process has failed, or takes longer than `MAX_SECONDS`.
    """
    context = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {"json_MB": round(annotations.stat().st_size / 2**20, 1)}
    go_on, processes = context.Event(), []
    for part in PARTS if in_memory else PARTS[:-1]:
        receiver, sender = context.Pipe(duplex=False)
        own = go_on if part in ("first", "second") else context.Event()
        process = context.Process(target=_measure, args=(str(annotations), part, sender, own), daemon=True)
        process.start()
        sender.close()
        try:
            if not receiver.poll(MAX_SECONDS):
                raise SystemExit(f"{part}: no result after {MAX_SECONDS / 3600:g} hours")
            found[part] = receiver.recv()
        except EOFError:
            raise SystemExit(f"{part}: the process has failed, see above") from None
        if part == "second":
            go_on.set()  # the first one stayed until now
        elif part != "first":
            own.set()
        processes.append(process)
    for process in processes:
        process.join(60)
    found["columns_MB"] = round(_size_of_columns(annotations) / 2**20, 1)
    return found


def _size_of_columns(annotations: Path) -> int:
    chosen = os.environ.get("QUERYDET_CACHE")
    folder = Path(chosen) if chosen else annotations.parent / ".querydet_cache"
    return sum(path.stat().st_size for path in folder.glob(f"{annotations.stem}-*/*"))


def make_table(found: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    rows = [("build", found["build"]["seconds"], "", found["build"]["MB_opened"]["private"], found["build"]["MB_most"])]
    names = {"first": "open, first process", "second": "open, second process", "in_memory": "read into memory"}
    for part, name in names.items():
        if part in found:
            row = found[part]
            rows.append((name, row["seconds"], row["seconds_of_reading_all"], row["MB_read"]["private"]))
            rows[-1] += (row["MB_read"]["resident"],)
    title = f"{found['boxes']:,} boxes, {found['json_MB']:g} MB of json, {found['columns_MB']:g} MB of columns"
    return tabulate(rows, headers=[title, "s", "s, all records", "MB private", "MB resident"], tablefmt="pipe")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=300_000)
    parser.add_argument("--no-memory", action="store_true", help="leave out the process that keeps records in memory")
    parser.add_argument("--folder", type=Path, help="of the json and its columns, which are removed at the end")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the written results as Markdown")
    options = parser.parse_args(arguments)
    if not options.table:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "boxes.json"
            write_file(path, options.boxes)
            found = {**origin_of_module(), "boxes": options.boxes, **measure(path, not options.no_memory)}
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(make_table(json.loads(options.output.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
