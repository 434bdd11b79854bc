"""Image files that do not exist are found, by one look at each folder where there are many."""

import os

import pytest

from querydet.data import missing_files
from querydet.data.missing_files import FolderListing, missing


@pytest.fixture
def records(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").touch()
    (tmp_path / "top.jpg").touch()
    names = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "a/1.jpg", "top.jpg", "1.jpg")
    return [{"file_name": str(tmp_path / name)} for name in names]


@pytest.mark.parametrize("few", [0, 100])
def test_missing_files_are_found_however_many_there_are(records, monkeypatch, few):
    monkeypatch.setattr(missing_files, "FEW", few)
    assert missing(records).tolist() == [1, 2, 5]
    assert missing([]).tolist() == []


def test_every_folder_is_listed_once(records, tmp_path, monkeypatch):
    listing = FolderListing()
    paths = [record["file_name"] for record in records]
    assert listing.has(paths).tolist() == [True, False, False, True, True, False]
    monkeypatch.setattr("os.listdir", lambda folder: pytest.fail("the folder is listed again"))
    assert listing.has(paths[::-1]).tolist() == [False, True, True, False, False, True]


def test_a_file_that_the_listing_spells_otherwise_is_not_missing(records, monkeypatch):
    monkeypatch.setattr(missing_files, "FEW", 0)
    monkeypatch.setattr("os.listdir", lambda folder: [])
    assert missing(records).tolist() == [index for index in range(6) if not os.path.isfile(records[index]["file_name"])]


def test_names_relative_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jpg").touch()
    assert FolderListing().has(["x.jpg", "y.jpg"]).tolist() == [True, False]
