"""A run goes on with the data that it was started on."""

import pytest

from querydet.engine.hooks.same_data import SameData

FOUND = {"name": "birds", "annotations": "/data/birds.json", "images": 5, "objects": 7, "records_sha256": "b" * 64}


def test_the_state_says_what_the_data_are_and_not_where():
    assert SameData(FOUND, False).state_dict() == {"images": 5, "objects": 7, "records_sha256": "b" * 64}


def test_equal_data_elsewhere_pass():
    hook = SameData({**FOUND, "annotations": "/other.json", "name": "other"}, False)
    hook.load_state_dict(SameData(FOUND, False).state_dict())
    assert hook.compared


def test_other_data_are_refused_with_every_difference():
    hook = SameData({**FOUND, "objects": 8, "records_sha256": "c" * 64}, False)
    with pytest.raises(
        ValueError, match=r"than those of /data/birds.json:\n  annotations: 7 -> 8\n  digest .*: b{12} -> c{12}"
    ):
        hook.load_state_dict(SameData(FOUND, False).state_dict())


def test_other_data_may_be_accepted_with_a_warning(caplog):
    SameData({**FOUND, "images": 6}, True).compare(FOUND)
    assert "images: 5 -> 6" in caplog.text


def test_a_process_that_compares_nothing_refuses_nothing():
    SameData({}, False).compare(FOUND)
