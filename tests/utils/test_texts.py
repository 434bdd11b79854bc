"""Texts in messages."""

from querydet.utils.texts import listed, nearest, shown


def test_texts_of_files_are_short_and_printable():
    assert shown("a\nb\x1b") == "a\\nb\\x1b"
    assert len(shown("x" * 10_000)) < 200


def test_long_lists_are_cut_off_and_counted():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2, "; ") == "a; b and 2 more"
    assert listed([], 2) == ""


def test_the_beginning_of_a_name_says_more_than_similar_letters():
    names = ["ms_dino_r50_24ep", "dino_r50_4scale_12ep", "dino_r50_4scale_12ep_detrex", "deta_r50_12ep"]
    assert nearest("dino_r50", names) == ["dino_r50_4scale_12ep"]
    assert nearest("dino_r50", names, 3) == ["dino_r50_4scale_12ep", "dino_r50_4scale_12ep_detrex", "ms_dino_r50_24ep"]
    assert nearest("deta_r50_13ep", names) == ["deta_r50_12ep"]
    assert nearest("deta_r50_13ep", [], 2) == []
