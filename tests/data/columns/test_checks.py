"""Problems of a large json are those of a small one, in the same words and the same order."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.data.coco_records import ReadingRules
from querydet.data.columns import checks, collect, json_lists
from tests.data.columns.random_files import both, random_content, write
from tests.data.outlined import outlined, with_boxes

KEYS = ["id", "image_id", "category_id", "bbox", "iscrowd", "area", "width", "height", "file_name", "name", "neg"]
WRONG = (None, 1, "1", 1.5, [1], {}, True, 0, -7, "x", [1, 2, 3, 4], [1, 2, "3", 4], "../x.png", 2**62)


def damaged(seed):
    """A random json with some wrong values, entries and lists."""
    rng = random.Random(seed)
    content = random_content(seed, lists=("neg",))
    for _ in range(rng.randint(1, 4)):
        entries = content[rng.choice(["images", "annotations", "categories"])]
        if entries and isinstance(entry := rng.choice(entries), dict):
            entry[rng.choice(KEYS)] = rng.choice(WRONG)
        if rng.random() < 0.3:
            repeated = rng.choice(entries or [None])
            repeated = dict(repeated) if isinstance(repeated, dict) else {}
            entries.insert(rng.randint(0, len(entries)), rng.choice([5, "x", None, repeated]))
    if rng.random() < 0.2:
        content[rng.choice(["images", "annotations", "categories"])] = rng.choice([None, {}, [], "x"])
    return content


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), annotated=st.booleans(), batch=st.integers(1, 9))
def test_reports_are_those_of_the_file_in_memory(tmp_path_factory, seed, annotated, batch):
    content = damaged(seed)
    path = write(tmp_path_factory.mktemp("damaged") / "a.json", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "BATCH", batch)
        patch.setattr(collect, "CHUNK", batch)
        in_memory, in_columns = both(path, "x", ReadingRules(need_annotations=annotated, image_lists=("neg",)))
    if isinstance(in_memory, str) or isinstance(in_columns, str):
        assert in_columns == in_memory
    else:
        assert in_columns[1:] == in_memory[1:]


@pytest.mark.parametrize(
    "content",
    [
        [],
        [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}] * 3,
        5,
        "text",
        {},
        {"shapes": [], "imagePath": "x"},
        {"a.jpg": {"filename": "a.jpg", "regions": []}},
        {"images": {}, "annotations": 5, "categories": "x"},
        {"images": [], "annotations": [], "categories": []},
    ],
)
def test_what_is_no_coco_json_is_called_the_same(tmp_path, content):
    in_memory, in_columns = both(write(tmp_path / "a.json", content), "x", ReadingRules())
    assert in_columns == in_memory
    assert "problem" in in_columns


@pytest.mark.parametrize(
    "convert", [lambda x, y, w, h, *_: (x, y, x + w, y + h), lambda x, y, w, h, W, H: (x / W, y / H, w / W, h / H)]
)
def test_boxes_of_another_kind_are_named(tmp_path, convert):
    path = write(tmp_path / "a.json", with_boxes(outlined(), convert))
    in_memory, in_columns = both(path, "x", ReadingRules())
    assert in_columns == in_memory
    assert "all boxes together" in in_columns
    assert not isinstance(both(path, "x", ReadingRules(check_boxes=False))[1], str)


@pytest.mark.parametrize(("key", "step"), [("image_id", 1), ("image_id", -1), ("category_id", 1), ("category_id", -1)])
def test_ids_that_count_from_another_number_are_named(tmp_path, key, step):
    content = outlined()
    for entry in content["annotations"]:
        entry[key] += step
    in_memory, in_columns = both(write(tmp_path / "a.json", content), "x", ReadingRules())
    assert in_columns == in_memory
    assert "one too" in in_columns


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        ("annotations", {"id": 2**63}, "id has more than 64 bits, which a large file cannot have: annotation 9223"),
        ("images", {"id": 2**64}, "id has more than 64 bits, which a large file cannot have: image 18446"),
        ("annotations", {"image_id": 2**64}, "unknown image_id: annotation 0"),
    ],
)
def test_ids_of_more_than_64_bits_are_named(tmp_path, key, place, message):
    content = outlined()
    content[key][0].update(place)
    assert message in both(write(tmp_path / "a.json", content), "x", ReadingRules())[1]


def test_a_category_of_more_than_64_bits_may_be_unused_only(tmp_path):
    content = outlined()
    content["categories"].append({"id": 2**64, "name": "bird"})
    in_memory, in_columns = both(write(tmp_path / "a.json", content), "x", ReadingRules())
    assert in_columns == in_memory
    content["annotations"][0]["category_id"] = 2**64
    found = both(write(tmp_path / "b.json", content), "x", ReadingRules())[1]
    assert "category_id has more than 64 bits, which a large file cannot have: annotation 0" in found


def test_a_file_of_wrong_entries_is_refused_with_some_of_them(tmp_path, monkeypatch):
    """And with nothing that is not true: neither unknown categories nor unknown images."""
    for module in (collect, checks):
        monkeypatch.setattr(module, "MOST_ODD", 10)
    monkeypatch.setattr(json_lists, "BATCH", 7)
    content = outlined(count=60)
    for image in content["images"]:
        image["width"] = None
    for entry in content["annotations"][5:]:
        entry["iscrowd"] = 2
    keys = ("annotations", "images", "categories")
    found = both(write(tmp_path / "a.json", {key: content[key] for key in keys}), "x", ReadingRules())[1]
    assert "more than 10 entries cannot be used: the others are not named" in found
    assert "width is missing or not a positive integer: image 1 (None)" in found
    assert "iscrowd is neither 0 nor 1: annotation 5 (2)" in found
    assert "unknown" not in found.replace("unknown image_id: annotation 35", "")
    assert "empty" not in found


def test_positions_of_rows_between_odd_entries():
    odd = [(0, "x"), (3, "y"), (4, "z"), (9, "w")]
    expected = [position for position in range(14) if position not in dict(odd)]
    assert checks._positions(np.arange(10), odd) == expected
    assert checks._positions(np.arange(3), []) == [0, 1, 2]


def test_json_of_a_lone_number_has_no_lists(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(None))
    in_memory, in_columns = both(tmp_path / "a.json", "x", ReadingRules())
    assert in_columns == in_memory
