"""Lists of a json are those of `json.loads`, wherever pieces of the file end; errors are its errors."""

import hashlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.data.columns import json_lists
from querydet.data.columns.json_lists import JsonLists

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ENCODINGS = ("utf-8", "ascii", "utf-16", "utf-16-le", "utf-32", "utf-8-sig")


def read(path):
    """What a file is read as: the lists under "a" and "b", the keys of all lists, other values."""
    lists = JsonLists(str(path), ("a", "b"))
    found = {}
    for key, first, entries in lists:
        assert first == len(found.setdefault(key, []))
        found[key] += entries
    assert lists.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return lists, found


@pytest.fixture
def file(tmp_path):
    return tmp_path / "x.json"


@settings(max_examples=40, deadline=None)
@given(
    content=st.dictionaries(st.sampled_from(["a", "b", "c", "ü\U0001f600", ""]), VALUES | st.lists(VALUES), max_size=5),
    encoding=st.sampled_from(ENCODINGS),
    indent=st.sampled_from([None, 0, 7]),
    piece=st.integers(1, 9),
    batch=st.integers(1, 3),
)
def test_lists_are_those_of_the_whole_file(tmp_path_factory, content, encoding, indent, piece, batch):
    path = tmp_path_factory.mktemp("lists") / "x.json"
    text = json.dumps(content, ensure_ascii=encoding == "ascii", indent=indent)
    path.write_bytes(text.encode(encoding, "strict" if encoding == "ascii" else "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "PIECE", piece)
        patch.setattr(json_lists, "BATCH", batch)
        lists, found = read(path)
    assert found == {key: content[key] for key in ("a", "b") if isinstance(content.get(key), list) and content[key]}
    assert lists.seen == {key for key, value in content.items() if isinstance(value, list)}
    assert lists.others == {key: value for key, value in content.items() if not isinstance(value, list)}
    assert lists.is_object


@pytest.mark.parametrize("value", ["1.5", "-1.25e+10", "1E5", "-0", "NaN", "-Infinity", "Infinity", "12345", "true"])
@pytest.mark.parametrize("piece", [1, 2, 3, 5])
def test_numbers_may_go_on_in_the_next_piece(file, monkeypatch, value, piece):
    monkeypatch.setattr(json_lists, "PIECE", piece)
    file.write_text(f'{{"n": {value}, "a": [{value}, {value} ], "m":{value}}}')
    lists, found = read(file)
    expected = repr(json.loads(value))
    assert [repr(lists.others["n"]), repr(lists.others["m"]), *map(repr, found["a"])] == [expected] * 4


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", '{"a"', '{"a":', '{"a": [', '{"a": [1', '{"a": [1,', '{"a": [1]', '{"a": [1],', '{"a": [1],}'),
        *('{"a": [1,]}', '{"a": [1 2]}', '{"a" [1]}', '{"a": [1]} x', "{,}", '{"a": [{"b": 1,,}]}', '{"a": ["\\x"]}'),
        *('{"a": 1 "b": 2}', '{"a": "\n"}', '{"a": nul}', '{"a": "abc', "nul", "[1, 2", "[1] 2", "{5: [1]}", "[1,]"),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_what_is_no_json_is_named(file, monkeypatch, text, piece):
    monkeypatch.setattr(json_lists, "PIECE", piece)
    with pytest.raises(json.JSONDecodeError, match=""):
        json.loads(text)
    file.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is not valid json: .* at character \d+"):
        read(file)


def test_the_place_of_an_error_is_that_in_the_file(file, monkeypatch):
    monkeypatch.setattr(json_lists, "PIECE", 10)
    file.write_text('{"a": [' + "1, " * 50 + "x]}")
    with pytest.raises(ValueError, match="at character 157"):
        read(file)


@pytest.mark.parametrize("piece", [1, 4, 7, 1 << 20])
def test_another_encoding_is_named_with_its_place(file, monkeypatch, piece):
    monkeypatch.setattr(json_lists, "PIECE", piece)
    file.write_bytes('{"a": ["äöü", "'.encode() + b"\xe4x" + b'"]}')
    with pytest.raises(ValueError, match=r"not in UTF-8: byte 0xe4 at position 18 is"):
        read(file)


def test_a_file_that_ends_within_a_letter_is_named(file, monkeypatch):
    monkeypatch.setattr(json_lists, "PIECE", 3)
    file.write_bytes('{"a": ["ä'.encode()[:-1])
    with pytest.raises(ValueError, match="not in UTF-8: byte 0xc3 at position 8"):
        read(file)


@pytest.mark.parametrize(
    ("text", "top"), [("[]", []), ('[{"x": 1}, 2, 3]', [{"x": 1}] * 3), ("5.5", 5.5), ('"x"', "x")]
)
def test_another_top_level_is_kept_for_the_message(file, text, top):
    file.write_text(text)
    lists, found = read(file)
    assert (lists.is_object, lists.top, found) == (False, top, {})


def test_a_key_cannot_be_there_twice(file):
    """One of both would be passed over, and nobody knows which one is meant."""
    file.write_text('{"a": [1], "a": [2]}')
    with pytest.raises(ValueError, match="has the key 'a' twice at the top level"):
        read(file)


def test_deep_nesting_is_an_error(file):
    file.write_text('{"a": [' + "[" * 100_000)
    with pytest.raises(ValueError, match="not valid json"):
        read(file)


def test_progress_counts_every_byte(file, monkeypatch):
    monkeypatch.setattr(json_lists, "PIECE", 16)
    file.write_text(json.dumps({"a": list(range(100)), "text": "ü" * 99}))
    done = []
    list(JsonLists(str(file), ("a",), done.append))
    assert sum(done) == file.stat().st_size


def test_a_value_of_many_pieces_takes_time_linear_in_it(file, monkeypatch):
    """As a list of 50,000 numbers inside of one entry: it is decoded a few times, not once for each piece."""
    monkeypatch.setattr(json_lists, "PIECE", 1000)
    times = []
    for count in (20_000, 80_000):
        file.write_text(json.dumps({"info": {"numbers": [1.5] * count}}))
        start = time.process_time()
        assert len(read(file)[0].others["info"]["numbers"]) == count
        times.append(time.process_time() - start)
    assert times[1] < 1.0
