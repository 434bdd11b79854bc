"""Contexts in which no data are generated; what loaders make of it is tested with them."""

import threading

import pytest

from querydet.data.existing_data import existing_data_only, may_generate


def test_nothing_is_generated_inside_and_after_an_error_it_is_as_before() -> None:
    with existing_data_only():
        with pytest.raises(KeyError), existing_data_only():
            raise KeyError
        assert not may_generate()
    assert may_generate()


def test_other_threads_are_not_concerned() -> None:
    seen = []
    with existing_data_only():
        thread = threading.Thread(target=lambda: seen.append(may_generate()))
        thread.start()
        thread.join()
    assert seen == [True]
