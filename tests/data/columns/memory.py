"""How much memory a process needs for the records of a file."""

import json
import os
import subprocess
import sys

PROGRAM = """
import re, sys
from querydet.data.coco_records import ReadingRules, read_records
from querydet.data.columns import read_columns

def private():
    text = open("/proc/self/smaps_rollup").read()
    return sum(int(kilobytes) for kilobytes in re.findall(r"Private_\\w+: *(\\d+)", text)) / 1024

read = read_columns if sys.argv[2] == "1" else read_records
before = private()
records = read(sys.argv[1], "images", ReadingRules()).records
{use}
print(private() - before)
"""


def grown_by(path, use, cache):
    """Megabytes by which the private memory of a new process grows when it opens the records and uses them."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.replace("{use}", use), path, str(int(cache))]
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "TQDM_DISABLE": "1"}
    )
    return float(found.stdout)


def write_large(path, images, boxes, in_order=False):
    """Writes a json; ids and images of the boxes ascend, or are in no order."""
    content = {
        "images": [{"id": n, "file_name": f"{n:08d}.jpg", "width": 640, "height": 480} for n in range(images)],
        "annotations": [_annotation(n, images, boxes, in_order) for n in range(boxes)],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(80)],
    }
    path.write_text(json.dumps(content))
    return str(path)


def _annotation(number, images, boxes, in_order):
    image = number * images // boxes if in_order else number * 7919 % images
    box = [number % 500, 5.5, 20.25, number % 90 + 1]
    return {"id": number if in_order else boxes - number, "image_id": image, "category_id": number % 80, "bbox": box}
