"""Lists of categories of images are checked, and become class indices."""

import pytest

from querydet.data.image_lists import check_image_lists, class_lists
from querydet.data.problem_report import ProblemReport

KEY = "neg_category_ids"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, f"{KEY} is missing"),
        (3, f"{KEY} is not a list of category ids"),
        (["3"], f"{KEY} is not a list of category ids"),
        ([True], f"{KEY} is not a list of category ids"),
        ([3, 8], f"{KEY} has unknown categories"),
    ],
)
def test_bad_lists_are_named_with_their_image(value, kind):
    report = ProblemReport("x")
    check_image_lists([{"id": 5, KEY: value}, {"id": 6, KEY: [3]}, {"id": "no id"}, None], [KEY], {3, 4}, report)
    assert list(report.kinds) == [kind]
    assert report.kinds[kind][0].startswith("image 5")


def test_a_file_without_annotations_may_lack_lists_but_has_no_wrong_ones():
    report = ProblemReport("x")
    check_image_lists([{"id": 5}, {"id": 6, KEY: None}, {"id": 7, KEY: 3}], [KEY], {3}, report, needed=False)
    assert report.kinds == {f"{KEY} is not a list of category ids": ["image 7"]}
    assert class_lists({KEY: None}, [KEY], {3: 0}) == class_lists({}, [KEY], {3: 0}) == {KEY: []}


def test_no_list_is_needed_that_nobody_asked_for():
    report = ProblemReport("x")
    check_image_lists([{"id": 5}], [], {3}, report)
    assert not report.kinds


def test_lists_become_class_indices_without_other_categories():
    assert class_lists({KEY: [30, 10, 99, 10]}, [KEY], {10: 0, 20: 1, 30: 2}) == {KEY: [0, 2]}
