"""Titles of pictures tell the images apart."""

import pytest

from querydet.visualization.titles import picture_titles


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/d/a.jpg", "/d/b.jpg"], ["a.jpg", "b.jpg"]),
        (["/d/one/images/a.jpg", "/d/two/images/a.jpg", "/d/b.jpg"], ["one/images/a.jpg", "two/images/a.jpg", "b.jpg"]),
        (["/d/a.jpg", "/d/x/a.jpg"], ["a.jpg", "x/a.jpg"]),
        (["a.jpg", "x/a.jpg"], ["a.jpg", "x/a.jpg"]),
        (["/d/a.jpg", "/d/a.jpg"], ["a.jpg, image 0", "a.jpg, image 1"]),
        (["/d/a.jpg", "/d/./a.jpg", "/e/a.jpg"], ["d/a.jpg, image 0", "d/a.jpg, image 1", "e/a.jpg"]),
        (["/d/a.jpg", "e/a.jpg"], ["/d/a.jpg", "e/a.jpg"]),
        ([], []),
    ],
)
def test_titles_are_short_and_differ(names, expected):
    records = [{"file_name": name, "image_id": index} for index, name in enumerate(names)]
    assert picture_titles(records) == expected
    assert len(set(expected)) == len(expected)
