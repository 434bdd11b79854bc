"""The number of denoising groups of an image, by the papers' rules and by the released one."""

from typing import Any

import pytest

from querydet.modeling.queries import FixedGroups, GroupsPerImage, GroupsPerProcess


def groups_of(rule: Any, *counts: int) -> list[int]:
    return [each.groups for each in rule.share(counts, 2)]


@pytest.mark.parametrize(
    ("num_queries", "wanted"),
    [
        (100, {0: 100, 1: 100, 3: 33, 7: 14, 30: 3, 63: 1, 101: 1}),
        (300, {1: 300, 3: 100, 7: 42, 30: 10, 63: 4, 101: 2}),
    ],
)
def test_each_image_has_about_as_many_queries(num_queries: int, wanted: dict[int, int]) -> None:
    assert groups_of(GroupsPerImage(num_queries=num_queries), *wanted) == list(wanted.values())
    for objects, groups in wanted.items():
        if objects:
            assert groups_of(GroupsPerProcess(num_queries=num_queries), objects) == [groups]


def test_fixed_groups_do_not_depend_on_the_objects() -> None:
    assert groups_of(FixedGroups(num_groups=10), 0, 1, 80, 500) == [10] * 4
    assert groups_of(GroupsPerProcess(num_groups=10), 0, 1, 80, 500) == [10] * 4


def test_by_the_released_rule_the_most_crowded_image_decides() -> None:
    shares = GroupsPerProcess(num_queries=100).share([3, 0, 11], 1)
    assert [(each.groups, each.stride, each.chosen) for each in shares] == [(9, 11, 3), (9, 11, 0), (9, 11, 11)]
    assert groups_of(GroupsPerProcess(num_queries=100), 0, 0) == [1, 1]


def test_below_a_limit_the_released_number_counts_groups() -> None:
    released = GroupsPerProcess(num_queries=49, min_dynamic=100)
    assert [groups_of(released, objects)[0] for objects in (1, 7, 200)] == [98] * 3
    assert groups_of(GroupsPerProcess(num_queries=49), 7) == [7]


@pytest.mark.parametrize("rule", [GroupsPerImage(num_queries=10), FixedGroups(max_objects=10)])
def test_a_group_holds_no_more_than_so_many_objects(rule: Any) -> None:
    (share,) = rule.share([1000], 2)
    assert (share.objects, share.chosen, share.stride) == (1000, 10, 10)
    assert share.total == 20 * share.groups
    (all_of_them,) = GroupsPerProcess(num_queries=10).share([1000], 2)
    assert (all_of_them.chosen, all_of_them.total) == (1000, 2000)


def test_bad_numbers() -> None:
    for kind in (GroupsPerImage, FixedGroups, GroupsPerProcess):
        name = "num_groups" if kind is FixedGroups else "num_queries"
        with pytest.raises(ValueError, match=f"{name} must be at least 1, found 0"):
            kind(**{name: 0})
        with pytest.raises(ValueError, match="max_objects must be at least 1, found 0"):
            kind(**{name: 5, "max_objects": 0})
    with pytest.raises(ValueError, match="let the other be None; found 5 and 100"):
        GroupsPerProcess(num_groups=5, num_queries=100)
    with pytest.raises(ValueError, match="found None and None"):
        GroupsPerProcess()
