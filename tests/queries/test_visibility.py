import pytest
import torch

from querydet.queries.visibility import blocked_pairs, plan_attention
from querydet.structures import QueryGroup, Role

CPU = torch.device("cpu")


def test_one_group_needs_no_mask() -> None:
    assert blocked_pairs((QueryGroup("primary", 0, 5),), CPU) is None


def test_an_empty_group_needs_no_mask() -> None:
    empty = QueryGroup("denoising", 0, 0, Role.DENOISING, sees=("primary",), block=0)
    assert blocked_pairs((empty, QueryGroup("primary", 0, 5)), CPU) is None


def test_denoising_blocks_by_hand() -> None:
    groups = (QueryGroup("denoising", 0, 4, Role.DENOISING, sees=("primary",), block=2), QueryGroup("primary", 4, 6))
    visible = torch.tensor(
        [
            [1, 1, 0, 0, 1, 1],
            [1, 1, 0, 0, 1, 1],
            [0, 0, 1, 1, 1, 1],
            [0, 0, 1, 1, 1, 1],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
        ]
    ).bool()
    assert torch.equal(blocked_pairs(groups, CPU), ~visible)


def test_groups_that_do_not_name_each_other_are_apart() -> None:
    blocked = blocked_pairs((QueryGroup("primary", 0, 2), QueryGroup("second", 2, 5)), CPU)
    assert blocked is not None
    assert blocked[:2, 2:].all()
    assert blocked[2:, :2].all()
    assert not blocked[:2, :2].any()
    assert not blocked[2:, 2:].any()


def test_seeing_a_group_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="sees 'primry', but the groups are"):
        plan_attention((QueryGroup("a", 0, 2, sees=("primry",)), QueryGroup("primary", 2, 3)), CPU)
