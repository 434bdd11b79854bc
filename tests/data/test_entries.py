"""Values of json entries are understood as exporters write them."""

import pytest

from querydet.data.entries import as_id, as_number, is_crowd, is_id, is_ignored


@pytest.mark.parametrize(
    ("value", "meant"), [(3, 3), (3.0, 3), ("3", 3), (" 3.0 ", 3), ("-2", -2), (3.5, None), ("a", None), (True, None)]
)
def test_ids(value, meant):
    assert as_id(value) == meant
    assert is_id(value) == (isinstance(value, int) and value is not True)


def test_numbers():
    assert [as_number(value) for value in ("1.5", 2, "x", None)] == [1.5, 2, "x", None]


@pytest.mark.parametrize("flag", [1, True, 1.0, "1", "true", " Yes "])
def test_regions_that_are_ignored(flag):
    assert is_ignored({"ignore": flag})
    assert is_crowd({"ignore": flag})


@pytest.mark.parametrize("flag", [0, False, None, "0", "", "false", [], [1], {}, 2, 0.3, "maybe"])
def test_other_marks_are_objects(flag):
    assert not is_ignored({"ignore": flag})
    assert not is_crowd({"ignore": flag, "iscrowd": 0})
    assert is_crowd({"ignore": flag, "iscrowd": 1})
