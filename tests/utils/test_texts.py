"""Texts in messages."""

from querydet.utils.texts import listed, shown


def test_texts_of_files_are_short_and_printable():
    assert shown("a\nb\x1b") == "a\\nb\\x1b"
    assert len(shown("x" * 10_000)) < 200


def test_long_lists_are_cut_off_and_counted():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2, "; ") == "a; b and 2 more"
    assert listed([], 2) == ""
