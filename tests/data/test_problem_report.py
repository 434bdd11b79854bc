"""All problems in one message, by kind."""

import pytest

from querydet.data.problem_report import MAX_SHOWN, ProblemReport


def test_nothing_is_raised_without_problems() -> None:
    report = ProblemReport("a.json")
    report.raise_if_any()
    assert report.kinds == {}


def test_problems_are_listed_by_kind_up_to_a_limit() -> None:
    report = ProblemReport("a.json")
    report.add("one", "place")
    for index in range(MAX_SHOWN + 2):
        report.add("many", str(index))
    with pytest.raises(ValueError, match=r"a\.json: 23 problems") as error:
        report.raise_if_any()
    lines = str(error.value).splitlines()
    assert lines[1] == "  - one: place"
    assert lines[2].startswith("  - many: 0, 1, 2")
    assert lines[2].endswith("19 and 2 more")


def test_kinds_are_a_copy() -> None:
    report = ProblemReport("a.json")
    report.add("one", "place")
    report.kinds.clear()
    assert report.kinds == {"one": ["place"]}
