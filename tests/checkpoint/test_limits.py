"""Limits and what they say."""

import pytest

from querydet.checkpoint import limits
from querydet.checkpoint.limits import TooLarge, check_limit


def test_a_limit_is_reached_and_not_passed(monkeypatch):
    monkeypatch.setattr(limits, "MAX_DEPTH", 7)
    check_limit(7, "lists", "MAX_DEPTH")
    with pytest.raises(TooLarge, match=r"^8 lists, more than MAX_DEPTH of querydet.checkpoint.limits allows \(7\)$"):
        check_limit(8, "lists", "MAX_DEPTH")
