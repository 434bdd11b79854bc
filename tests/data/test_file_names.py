"""File names that cannot be right are named as what they are, and those that nearly exist with the file they mean."""

import itertools
import time
import unicodedata

import pytest

from querydet.data import load_coco
from querydet.data.doctor import Treatment, examine
from querydet.data.file_names import FolderIndex, fault_of
from tests.data.sick import save, write


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a.jpg", ""),
        ("sub/a.jpg", ""),
        ("./a.jpg", ""),
        ("sub/../a.jpg", ""),  # it stays inside
        ("..a.jpg", ""),
        ("c:a.jpg", ""),
        (None, "file_name is missing"),
        ("", "file_name is missing"),
        (5, "file_name is no text"),
        ("a\0.jpg", "file_name has a null character"),
        ("../a.jpg", "file_name leaves the image folder"),
        ("sub/../../a.jpg", "file_name leaves the image folder"),
        ("..\\a.jpg", "file_name leaves the image folder"),
        ("/data/a.jpg", "file_name leaves the image folder"),
        ("\\\\server\\a.jpg", "file_name leaves the image folder"),
        ("C:\\a.jpg", "file_name leaves the image folder"),
        ("https://example.com/a.jpg", "file_name is an address, not a path in the image folder"),
        ("s3://bucket/a.jpg", "file_name is an address, not a path in the image folder"),
    ],
)
def test_faults_are_what_they_are(name, fault):
    assert fault_of(name, "/images") == fault


def test_an_absolute_path_into_the_folder_does_not_leave_it(tmp_path):
    assert fault_of(str(tmp_path / "a.jpg"), str(tmp_path)) == "file_name is an absolute path"
    assert fault_of(str(tmp_path) + "2/a.jpg", str(tmp_path)) == "file_name leaves the image folder"


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "ü.jpg") for form in ("NFC", "NFD"))
NEARLY = [
    ("my%20photo%C3%A9.jpg", "my photoé.jpg"),
    ("sub\\a.jpg", "sub/a.jpg"),
    ("A.JPG", "a.jpg"),
    ("SUB/a.jpg", "sub/a.jpg"),
    (COMPOSED, DECOMPOSED),
    (DECOMPOSED, COMPOSED),
    ("images/a.jpg", "a.jpg"),
    ("../images/a.jpg", "a.jpg"),
    ("/data/upload/1/a.jpg", "a.jpg"),
    ("C:\\photos\\a.jpg", "a.jpg"),
    ("https://example.com/x/a.jpg", "a.jpg"),
    ("a.jpg", "deep/down/a.jpg"),
    ("Sub%5Ca%20b.JPG", "sub/a b.jpg"),
]


@pytest.mark.parametrize(("name", "there"), NEARLY)
def test_a_name_that_nearly_exists_is_named_with_the_file(tmp_path, name, there):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    save(tmp_path / there)
    save(tmp_path / "other.jpg")
    assert FolderIndex(str(tmp_path)).candidate(name)[0] == there
    source = write(tmp_path, [(name, 40, 30)], [])
    with pytest.raises((FileNotFoundError, ValueError), match=r"\(there is '") as error:
        load_coco(source, str(tmp_path))
    assert f"there is '{there}'" in str(error.value)
    found = examine(source, str(tmp_path), Treatment(), files="exist")
    assert any(f"there is '{there}'" in place for each in found.findings.values() for place in each.places)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("a", "a.jpg"),
        ("images/a", "a.jpg"),
        ("/data/local-files/?d=images/a.jpg", "a.jpg"),
        ("data/local-files/?d=a.jpg", "a.jpg"),
        ("images/cb0618f6-a.jpg", "a.jpg"),
        ("..\\label-studio\\media\\upload\\4\\cb0618f6-a.jpg", "a.jpg"),
    ],
)
def test_names_that_annotation_tools_write(tmp_path, name, there):
    save(tmp_path / there)
    save(tmp_path / "other.jpg")
    index = FolderIndex(str(tmp_path))
    assert index.candidate(name)[0] == there
    save(tmp_path / "a.png")
    index = FolderIndex(str(tmp_path))
    assert (index.candidate(name)[0] == there) == name.endswith(".jpg")  # without an extension, it may be both


@pytest.mark.parametrize("name", ["ab-a.jpg", "cb0618f-a.jpg", "cb0618fz-a.jpg", "b", "a.jpeg", "x_a.jpg"])
def test_other_names_are_not_guessed(tmp_path, name):
    save(tmp_path / "a.jpg")
    assert FolderIndex(str(tmp_path)).candidate(name) == ("", "")


def test_several_candidates_are_none(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "x.jpg")
    index = FolderIndex(str(tmp_path))
    assert index.candidate("x.jpg") == ("", "")
    assert index.candidate("A/X.jpg") == ("a/x.jpg", "spelt otherwise")
    assert index.candidate("y.jpg") == index.candidate(7) == index.candidate("") == ("", "")
    assert FolderIndex(str(tmp_path / "nowhere")).hint("x.jpg") == ""


def test_a_folder_without_end_is_searched_for_seconds(tmp_path, monkeypatch):
    """The images of a config or json of others may be said to lie in "/"."""
    monkeypatch.setattr("querydet.data.file_names.MOST_SECONDS", 0.3)
    endless = ((f"{tmp_path}/{index}", [], ["a.jpg", f"{index}.jpg"]) for index in itertools.count())
    monkeypatch.setattr("os.walk", lambda folder: endless)
    start = time.monotonic()
    assert FolderIndex(str(tmp_path)).candidate("x/0.JPG") == ("", "")  # it may stand elsewhere too
    assert time.monotonic() - start < 10
