"""Notes, rules and budgets."""

import pytest

from querydet.checkpoint import limits
from querydet.checkpoint.limits import TooLarge
from querydet.checkpoint.pickle_notes import Budget, NoNames, Note, Refused


def test_a_budget_grows_with_the_file(monkeypatch):
    monkeypatch.setattr(limits, "FREE_EXPANSION", 10)
    budget = Budget(100)
    budget.charge(10 + limits.MAX_EXPANSION * 100, "tensors")
    with pytest.raises(TooLarge, match="tensors of 811 bytes in a file of 100 bytes"):
        budget.charge(1, "tensors")


def test_without_names_nothing_is_called():
    rules = NoNames()
    for action in (
        lambda: rules.check_global("os.system"),
        lambda: rules.call("os.system", []),
        lambda: rules.check_state(Note("dict"), Note("dict")),
        lambda: rules.storage(Note("tuple")),
    ):
        with pytest.raises(Refused):
            action()
