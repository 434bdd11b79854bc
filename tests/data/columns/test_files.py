"""Columns are read as they were written; anything else than their layout is refused."""

import numpy as np
import pytest

from querydet.data.columns.files import ColumnsError, ColumnWriter, column_path, open_columns


def test_pieces_are_one_column(tmp_path):
    parts = [np.arange(8, dtype="<f8").reshape(4, 2), np.zeros((0, 2), "<f8"), np.ones((1, 2), "<f8")]
    with ColumnWriter(str(tmp_path)) as writer:
        for part in parts:
            writer.append("box", part[:, ::-1])
        writer.append("empty", np.zeros((0, 3), "<i4"))
        writer.append("flag", np.array([1, 0], np.uint8))
    layout = writer.layout
    assert layout == {"box": ("<f8", [5, 2]), "empty": ("<i4", [0, 3]), "flag": ("|u1", [2])}
    columns = open_columns(str(tmp_path), layout)
    assert columns["box"].tolist() == np.concatenate(parts)[:, ::-1].tolist()
    assert columns["empty"].shape == (0, 3)
    with pytest.raises(ValueError, match="read-only"):
        columns["flag"][0] = 5


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("|O8", [1]), ("<V8", [1]), ("<f8", [-1]), ("<f8", []), (">f8", [1]), ("<f8", [1, 2]), ("<M8", [1]), ("", [1])],
)
def test_another_layout_is_refused(tmp_path, kind, shape):
    (tmp_path / "x.column").write_bytes(bytes(8))
    with pytest.raises(ColumnsError):
        open_columns(str(tmp_path), {"x": (kind, shape)})


@pytest.mark.parametrize("name", ["../x", "/x", "a/x", ""])
def test_columns_lie_in_their_folder(tmp_path, name):
    with pytest.raises(ColumnsError):
        open_columns(str(tmp_path), {name: ("<f8", [1])})


def test_a_file_that_cannot_be_mapped_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.column").write_bytes(bytes(8))

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ColumnsError, match=r"x\.column cannot be read: .*Permission denied"):
        open_columns(str(tmp_path), {"x": ("<f8", [1])})


def write_and_fail(writer, error):
    with writer:
        writer.append("a", np.ones(3))
        writer.append("b", np.ones(3))
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [KeyError("own"), None])
def test_all_files_are_closed_when_one_cannot_be_written(tmp_path, monkeypatch, error):
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError("full")))
    writer = ColumnWriter(str(tmp_path))
    with pytest.raises(KeyError if error else OSError, match="own" if error else "full"):
        write_and_fail(writer, error)
    assert [file.closed for file in writer._files.values()] == [True, True]


def test_a_path_is_that_of_a_name(tmp_path):
    assert column_path("folder", "box") == "folder/box.column"


def test_pages_are_given_back_and_read_again(tmp_path):
    values = np.arange(2**20, dtype="<i8")
    with ColumnWriter(str(tmp_path)) as writer:
        writer.append("numbers", values)
        writer.append("nothing", values[:0])
    columns = open_columns(str(tmp_path), writer.layout)
    assert sorted(columns) == ["nothing", "numbers"]
    assert len(columns) == 2
    for _ in range(2):
        assert (columns["numbers"] == values).all()
        columns.release()
    assert not columns["numbers"].flags.writeable


def test_rows_are_read_without_mapping(tmp_path):
    values = np.arange(40, dtype="<i4").reshape(10, 4)
    with ColumnWriter(str(tmp_path)) as writer:
        writer.append("box", values)
    columns = open_columns(str(tmp_path), writer.layout)
    assert columns.read("box", 3, 5).tolist() == values[3:5].tolist()
    assert columns.read("box", 10, 10).shape == (0, 4)
    with open(column_path(str(tmp_path), "box"), "r+b") as file:
        file.truncate(17)
    with pytest.raises(ColumnsError, match=r"box\.column was cut while it was in use"):
        columns.read("box", 0, 2)
