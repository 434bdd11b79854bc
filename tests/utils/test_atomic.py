"""Atomic files."""

import pytest

from querydet.utils.atomic import atomic_write


def test_complete_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(str(path)) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_failure_keeps_the_old_file_and_leaves_no_rest(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(str(path)) as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
