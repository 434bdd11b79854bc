import os

import pytest

from querydet.utils.damaged import put_aside, put_aside_unless_file


def test_nothing_is_lost_and_each_is_said_once(tmp_path, caplog):
    path = tmp_path / "file"
    for content in ("one", "two", "three"):
        path.write_text(content)
        put_aside(str(path), "half")
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == {
        "file.damaged": "one",
        "file.damaged1": "two",
        "file.damaged2": "three",
    }
    assert len(caplog.records) == 3
    assert f"{path} cannot be used (half): it is kept as {path}.damaged1" in caplog.text


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_what_is_no_file_is_put_aside(tmp_path, make):
    path = str(tmp_path / "log.txt")
    make(path)
    put_aside_unless_file(path)
    assert os.listdir(tmp_path) == ["log.txt.damaged"]


def test_a_file_or_nothing_is_left_alone(tmp_path):
    (tmp_path / "log.txt").write_text("lines")
    put_aside_unless_file(str(tmp_path / "log.txt"))
    put_aside_unless_file(str(tmp_path / "other"))
    assert os.listdir(tmp_path) == ["log.txt"]


def test_what_cannot_be_renamed_is_an_error_in_the_log(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr("os.rename", fail)
    put_aside(str(tmp_path / "x"), "half")
    assert "nor renamed: read-only" in caplog.text
