"""Plain values from YAML: nothing else is read, and nothing takes long or much memory."""

import math
import os
import time

import pytest

from querydet.config.plain_yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Name, calls_function, read_plain_yaml
from querydet.config.safe_yaml import load_yaml, plain_config
from tests.limits import bounded_memory

SECONDS = 20  # the slowest takes 3 on a quiet machine


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "config.yaml")

    return write


def levels(count, text):
    """``text`` for each level from 1, with the numbers of this one and the one before."""
    return "".join(text.format(i, i - 1) for i in range(1, count))


def test_values_are_plain(write):
    text = "a: 1\nb: [1.5, .inf, true, null, 0x1f]\nc: 2001-02-03\nd: !!python/name:os.system ''\n? 5\n: x"
    content = read_plain_yaml(write(text))
    assert content == {"a": 1, "b": [1.5, math.inf, True, None, 31], "c": "2001-02-03", "d": "os.system", 5: "x"}
    assert isinstance(content["d"], Name)


@pytest.mark.parametrize("tag", ["binary aaaa", "pairs [a: 1]", "omap [a: 1]", "set {a}", "python/bytes aa", "!own x"])
def test_every_tag_but_those_of_plain_values_is_refused(write, tag):
    with pytest.raises(ValueError, match="makes an object, which can run code; nothing was run at line 2"):
        read_plain_yaml(write(f"b: 1\na: {'!' if tag.startswith('!') else '!!'}{tag.removeprefix('!')}"))


@pytest.mark.parametrize(
    "hidden", ["!!pairs [a: {X}]", "!!omap [a: {X}]", "!!python/tuple [[{X}]]", "[[{X}]]", "{a: {X}}", "&b {X}"]
)
def test_targets_are_found_in_every_kind_of_container(write, hidden):
    text = "model: " + hidden.replace("{X}", "{_target_: os.system, command: 'true'}")
    with pytest.raises(ValueError, match=r"makes an object|_target_ is 'os\.system'"):
        load_yaml(write(text))


BOMBS = {
    "aliases": "a0: &a0 [x, x]\n" + levels(60, "a{0}: &a{0} [*a{1}, *a{1}]\n"),
    "an alias of itself": "a: &a [*a]",
    "many aliases": "a: &x [1]\nb: [" + "*x, " * (MAX_BYTES // 5) + "]",
    "merge keys": "a0: &a0 {k: 1}\n" + levels(60, "a{0}: &a{0} {{<<: [*a{1}, *a{1}]}}\n"),
    "references to parts": "a0: [1, 2]\n" + levels(60, "a{0}: {{x: '${{a{1}}}', y: '${{a{1}}}'}}\n"),
    "references in texts": "a0: xxxxxxxxxx\n" + levels(60, "a{0}: '${{a{1}}}${{a{1}}}'\n"),
    "a chain of references": "a0: x\n" + levels(990, "a{0}: '${{a{1}}}yyyyyyyyyyyyyyyyyyyyyyyyy'\n"),
    "a chain that many refer to": "a0: x\n" + levels(60, "a{0}: '${{a{1}}}y'\n") + levels(900, "b{0}: '${{a59}}y'\n"),
    "many references": "a: x\n" + levels(5000, "b{0}: ${{a}}\n"),
    "a circle of references": "a: ${b}\nb: ${a}",
    "a reference to its own part": "a: {b: '${..a}'}",
    "a long reference": "a: ${" + "a." * 100_000 + "a}",
    "a high reference": "a: ${" + "." * 100_000 + "a}",
    "lists in lists": "a: " + "[" * 100_000,
    "mappings in mappings": "a: " + "{a: " * 20_000,
    "blocks in blocks": "".join(" " * i + "a:\n" for i in range(600)),
    "tuples in tuples": "a: " + "!!python/tuple [" * 200 + "]" * 200,
    "a long number": "a: " + "1" * 200_000,
    "a long hexadecimal number": "a: 0x" + "f" * 200_000,
    "a long number of base 60": "a: 1" + ":1" * 100_000,
    "a long fraction": "a: 1." + "1" * 100_000,
    "many values": "a: [" + "1," * (MAX_BYTES // 2 - 10) + "]",
    "a large file": "a: 1\n#" + "x" * MAX_BYTES,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_end_soon_with_a_message(write, bomb):
    path = write(BOMBS[bomb])
    for load in (load_yaml, plain_config):
        start = time.monotonic()
        with bounded_memory(megabytes=300), pytest.raises(ValueError, match=r"refused|cannot be followed|larger than"):
            load(path)
        assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("text", ["a: !!int x", "a: !!bool x", "a: {null: 1}", "a: {[1]: 2}", "a: \0", "a: '\n"])
def test_what_cannot_be_read_has_the_project_s_message(write, text):
    with pytest.raises(ValueError, match="config '"):
        load_yaml(write(text))


def test_a_pipe_or_device_is_no_config(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    for path in (tmp_path / "config.yaml", "/dev/zero"):
        with pytest.raises(ValueError, match="it is no file"):
            read_plain_yaml(str(path))


def test_what_is_within_the_limits_is_read(write):
    depth = MAX_DEPTH - 2
    text = "a: " + "[" * depth + "]" * depth + "\nb: [" + "1, " * (MAX_VALUES // 2) + "]\nc: &c [1, 2]\nd: [*c, *c]"
    cfg = load_yaml(write(text))
    assert len(cfg.b) == MAX_VALUES // 2
    assert cfg.d == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("${a}", False),
        ("${.a.b}/x", False),
        ("${a[0].b}", False),
        ("5 $ {x}", False),
        ("C:\\x", False),
        ("${a:b}", True),
        ("${a.${b}}", True),
        ("${a}${b}", True),
        ("\\${a}", True),
        ("$${a}", True),
        ("${", True),
    ],
)
def test_functions_are_told_from_references(text, calls):
    assert calls_function(text) is calls
