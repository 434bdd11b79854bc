"""Sealed files are read as they were written, or not at all."""

import os

import pytest

from querydet.data.columns.files import ColumnsError
from querydet.data.columns.sealed import read_sealed, write_sealed


def test_what_was_written_is_read(tmp_path):
    content = {"b": [1, 2.5, None], "a": {"ü": "\ud800"}, "c": float("inf")}
    write_sealed(str(tmp_path / "x"), content)
    assert read_sealed(str(tmp_path / "x")) == content
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"content": {}}', '{"content": {}, "digest": ""}', "\xff"])
def test_anything_else_is_damaged(tmp_path, text):
    (tmp_path / "x").write_text(text, encoding="latin-1")
    with pytest.raises(ColumnsError, match="x is damaged"):
        read_sealed(str(tmp_path / "x"))


def test_a_changed_letter_is_noticed(tmp_path):
    path = tmp_path / "x"
    write_sealed(str(path), {"version": 1})
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(ColumnsError, match="its digest is not that of its content"):
        read_sealed(str(path))


def test_no_file_means_that_they_were_not_completed(tmp_path):
    with pytest.raises(ColumnsError, match="not completed"):
        read_sealed(str(tmp_path / "x"))
    with pytest.raises(ColumnsError, match="damaged"):
        read_sealed(str(tmp_path))
