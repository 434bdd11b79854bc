"""Ids are found at once as they are one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from querydet.data.columns.ids import SortedIds

IDS = st.lists(st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1), max_size=12)


@given(ids=IDS, wanted=IDS)
def test_positions_are_those_in_the_list(ids, wanted):
    known = SortedIds(np.array(ids, np.int64))
    expected = [ids.index(value) if value in ids else -1 for value in wanted]
    assert known.positions(np.array(wanted, np.int64)).tolist() == expected
    assert [value in known for value in wanted] == [value in ids for value in wanted]
    assert known.repeated().tolist() == sorted({value for value in ids if ids.count(value) > 1})


def test_what_is_no_id_is_not_there():
    known = SortedIds(np.array([0, 1, 5]))
    assert not any(value in known for value in ("5", 5.0, True, None, 2**64, -(2**64), [5]))
    assert 5 in known
