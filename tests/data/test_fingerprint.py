"""A fingerprint is of the content of a data set and not of its place."""

import os

from querydet.data import load_coco
from querydet.data.fingerprint import MAX_FILES, fingerprint


class Records:
    """A data set of a loader: any number of images, of which some are read."""

    def __init__(self, records, name=""):
        self.records, self.name, self.read = records, name, []

    def __len__(self):
        return len(self.records)

    def record(self, index):
        self.read.append(index)
        return self.records[index]


def of_coco(paths):
    dataset = load_coco(*paths)
    return fingerprint(Records(dataset, dataset.name))


def test_a_json_and_its_images_are_hashed(write_coco, coco_json):
    annotations, images = write_coco(coco_json)
    first = of_coco((annotations, images))
    assert (first["images"], first["hashed_files"], first["annotations"]) == (3, 3, annotations)
    other = of_coco(write_coco(coco_json, "copy"))
    assert [other[key] for key in ("annotations_sha256", "files_sha256")] == [
        first[key] for key in ("annotations_sha256", "files_sha256")
    ]
    with open(os.path.join(images, "b.png"), "ab") as file:
        file.write(b"x")
    changed = of_coco((annotations, images))
    assert changed["files_sha256"] != first["files_sha256"]
    assert changed["annotations_sha256"] == first["annotations_sha256"]


def test_the_hashed_files_are_few_and_evenly_spread():
    dataset = Records([{"file_name": f"nowhere/{number}.png"} for number in range(10 * MAX_FILES)])
    assert fingerprint(dataset)["hashed_files"] == MAX_FILES
    assert dataset.read == list(range(0, 10 * MAX_FILES, 10))


def test_data_that_are_no_files_have_a_name_and_a_number():
    assert fingerprint([1, 2, 3]) == {"name": "", "images": 3}
