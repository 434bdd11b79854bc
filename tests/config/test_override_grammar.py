"""One override becomes a key and a value, or is refused."""

from typing import Any

import pytest

from querydet.config.override_grammar import parse_override


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", ("a.b", 1)),
        ("a=null", ("a", None)),
        ("a=[1,2.5,x]", ("a", [1, 2.5, "x"])),
        ("a={b:{c:true}}", ("a", {"b": {"c": True}})),
        ("a='1'", ("a", "1")),
        ("a=naïve/x", ("a", "naïve/x")),
        ("a=b=c", ("a", "b=c")),
        ("a=", ("a", "")),
    ],
)
def test_a_value_has_the_type_that_it_is_written_as(text: str, expected: tuple[str, Any]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--resume", "has to come before the first key=value"),
        ("alone", "not of the form key=value"),
        ("a=[1", "cannot be parsed, quote the value"),
        ("+a=1", r"adding \(\+\) and deleting"),
        ("~a=1", r"adding \(\+\) and deleting"),
        ("a@b=1", "packages"),
        ("a=1,2", r"write a list as \[1,2\]"),
    ],
)
def test_what_is_no_single_value_of_a_key_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_override(text)
