"""Which images of which files a data set has."""

import pytest

from querydet.data.sources import Source, choose_sources, json_files, sources_of


def test_choices_cross_the_borders_of_files():
    sources = (Source("a", "", 0, 3), Source("b", "", 5, 9))
    ranges = {
        (start, stop): [(each.json_file, each.start, each.stop) for each in choose_sources(sources, start, stop)]
        for start, stop in ((0, 7), (1, 2), (2, 5), (3, 4))
    }
    assert ranges == {
        (0, 7): [("a", 0, 3), ("b", 5, 9)],
        (1, 2): [("a", 1, 2)],
        (2, 5): [("a", 2, 3), ("b", 5, 7)],
        (3, 4): [("b", 5, 6)],
    }


@pytest.mark.parametrize(("other", "expected"), [((0, 5), False), ((4, 6), True), ((5, 9), True), ((9, 12), False)])
def test_parts_of_a_file_overlap_where_they_share_images(tmp_path, other, expected):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("{}")
    own = Source(str(tmp_path / "a.json"), "", 5, 9)
    assert own.overlaps(Source(str(tmp_path / "." / "a.json"), "", *other)) == expected
    assert not own.overlaps(Source(str(tmp_path / "b.json"), "", *other))
    assert not own.overlaps(Source("missing.json", "", *other))


def test_data_without_files_have_no_sources():
    assert sources_of([]) == sources_of("no such data set") == ()
    assert json_files("") == []
