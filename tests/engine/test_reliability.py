"""The page of promises names tests that exist."""

import re

import pytest

from tests.engine.conftest import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/*]+\.py)(?:::(\w+))?`", PAGE)))


def test_the_page_names_many():
    assert len(NAMED) > 40


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_named_test_exists(file, test):
    paths = [path for path in (ROOT / "tests").glob(file) if path.is_file()] or [ROOT / file]
    assert paths[0].is_file()
    if test:
        assert f"def {test}(" in paths[0].read_text(encoding="utf-8")
