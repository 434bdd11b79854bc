"""Options that several commands share."""

import argparse

import pytest

from querydet.cli.options import positive, split_overrides


def test_overrides_are_found_anywhere():
    argv = ["run", "--index", "3", "train.device=cpu", "--input", "./a=b.jpg", "model.x.0=[1,2]", "--size=3", "c.jpg"]
    rest, overrides = split_overrides(argv)
    assert rest == ["run", "--index", "3", "--input", "./a=b.jpg", "--size=3", "c.jpg"]
    assert overrides == ["train.device=cpu", "model.x.0=[1,2]"]


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_numbers_below_one_are_refused(text):
    assert positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match=f"at least 1, found '{text}'"):
        positive(text)
