"""The order of query groups: denoising groups stand before the first group that sees them."""

import pytest
import torch

from querydet.modeling.queries.group_order import order_groups
from querydet.structures import InitialQueries, QueryGroup, Role


def initial(name: str, role: Role = Role.MATCHING, sees: tuple[str, ...] = ()) -> InitialQueries:
    return InitialQueries(QueryGroup(name, 0, 2, role, visible_groups=sees), torch.zeros(1, 2, 8), torch.zeros(1, 2, 4))


def test_denoising_groups_stand_before_the_first_group_that_sees_them() -> None:
    matching = tuple(initial(name) for name in ("primary", "group1", "group2"))
    denoising = tuple(
        initial(f"of {sees}", Role.DENOISING, sees)
        for sees in (("group2",), ("group2", "group1"), ("primary",), ("group1",))
    )
    found = [queries.group.name for queries in order_groups(matching, denoising)]
    assert found == [
        "of ('primary',)",
        "primary",
        "of ('group2', 'group1')",
        "of ('group1',)",
        "group1",
        "of ('group2',)",
        "group2",
    ]


def test_a_denoising_group_belongs_to_a_group_that_there_is() -> None:
    with pytest.raises(ValueError, match=r"'a' sees \['group3'\], but the selection makes \['primary'\]: name one"):
        order_groups((initial("primary"),), (initial("a", Role.DENOISING, ("group3",)),))


def test_without_denoising_the_order_stays() -> None:
    matching = tuple(initial(name) for name in ("primary", "b", "a"))
    assert order_groups(matching, ()) == list(matching)
