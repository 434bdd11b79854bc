"""Runs the tests of a module on records in memory, and again on those in columns.

from tests.data.storages import pytest_generate_tests  # noqa: F401
"""


def pytest_generate_tests(metafunc):
    if not hasattr(metafunc.function, "hypothesis"):  # tests/data/columns has properties of its own
        metafunc.fixturenames.append("storage")
        metafunc.parametrize("storage", ["memory", "columns"], indirect=True)
