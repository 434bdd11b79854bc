"""Files of images: which exist, and where."""

import pytest

from querydet.data.present_files import MovedFiles, find_rule, moved, named
from querydet.data.record_columns import column


def test_short_names_are_the_last_two_parts():
    assert moved("root/images/v1/patch0/a.jpg", "root") == "root/patch0/a.jpg"
    assert moved("root/images\\v1\\patch0\\a.jpg", "root") == "root/patch0/a.jpg"
    records = [{"file_name": "root/images/v1/patch0/a.jpg", "image_id": 4, "annotations": []}]
    records_there = MovedFiles(records, "root")
    assert list(records_there) == [{**records[0], "file_name": "root/patch0/a.jpg"}]
    assert column(records_there, "file_name").tolist() == ["root/patch0/a.jpg"]
    assert column(records_there, "image_id").tolist() == [4]


def test_short_names_stay_in_the_folder():
    assert moved("root/a.jpg", "root") == moved("root/./b/../a.jpg", "root") == "root/a.jpg"
    assert moved("a/root/b/../c.jpg", "a/root") == "a/root/c.jpg"
    assert moved("a/root/b\\..\\c.jpg", "a/root/") == "a/root/c.jpg"


def test_the_rule_is_that_of_most_images(tmp_path):
    folder = str(tmp_path)
    records = [{"file_name": f"{folder}/v/p/{index}.jpg"} for index in range(200)]
    (tmp_path / "p").mkdir()
    (tmp_path / "v" / "p").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"of 64 images .* none exists"):
        find_rule(records, folder)
    for index in range(200):
        (tmp_path / ("v" if index % 5 == 0 else ".") / "p" / f"{index}.jpg").touch()
    assert find_rule(records, folder) == "last_two"
    assert find_rule(records[:1], folder) == "file_name"


def test_images_are_found_by_the_end_of_their_names():
    records = [{"file_name": name} for name in ("x/patch1/a.jpg", "x/patch11/a.jpg", "patch1/b.jpg")]
    assert named(records, ["patch1/a.jpg", "patch1/b.jpg"]).tolist() == [0, 2]
    assert named([{"file_name": "x/apatch1/a.jpg"}], ["patch1/a.jpg"]).tolist() == []
