"""What is a file."""

import os

import pytest

from querydet.checkpoint.regular import not_a_file


def test_files_and_links_to_them_are_files(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").symlink_to("a")
    assert not_a_file(str(tmp_path / "a")) is None
    assert not_a_file(str(tmp_path / "b")) is None


@pytest.mark.parametrize(("name", "found"), [("/dev/zero", "device"), ("/", "directory"), ("a\0b", "does not exist")])
def test_other_paths_are_named(name, found):
    assert found in not_a_file(name)


def test_a_pipe_and_a_link_to_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("absent")
    assert "named pipe" in not_a_file(str(tmp_path / "pipe"))
    assert "does not exist" in not_a_file(str(tmp_path / "link"))
