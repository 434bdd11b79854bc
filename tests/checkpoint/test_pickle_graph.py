"""What a pickle would build, beside what Python builds."""

import collections
import io
import pickle

import pytest

from querydet.checkpoint.limits import TooLarge
from querydet.checkpoint.pickle_graph import read_graph
from querydet.checkpoint.pickle_notes import NoNames, Refused

VALUES = [
    {"a": [1, 2.5, None, True], b"b": (1, (2, "x")), 3: set(), (1, "a"): 2**70, -1.5: bytearray(b"xy"), False: "ä"},
    [[], {}, (), "", b"", 0, -1, 255, 65536, 2**31, "x" * 70_000],
    (1,),
    (1, 2, 3, 4),
]


def steps(value):
    """The values that a walk meets."""
    if isinstance(value, dict):
        return 1 + sum(steps(key) + steps(item) for key, item in value.items())
    return 1 + (sum(map(steps, value)) if isinstance(value, list | tuple | set) else 0)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("value", VALUES)
def test_counts_what_a_walk_meets(value, protocol):
    if protocol < 5:
        value = {key: item for key, item in value.items() if key != -1.5} if isinstance(value, dict) else value
    if protocol == 3 and isinstance(value, dict):
        value = {key: item for key, item in value.items() if key != 3}
    stream = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    assert read_graph(stream, NoNames()).size == steps(value)
    assert stream.read() == b"rest"


def test_shared_values_count_wherever_they_are_used():
    inner = [1, 2, 3]
    found = read_graph(io.BytesIO(pickle.dumps([inner] * 5, 2)), NoNames())
    assert (found.size, found.depth) == (1 + 5 * 4, 3)


@pytest.mark.parametrize("depth", [98, 200])
def test_depth(depth):
    value = []
    for _ in range(depth):
        value = [value]
    stream = io.BytesIO(pickle.dumps(value))
    if depth < 99:
        assert read_graph(stream, NoNames()).depth == depth + 1
    else:
        with pytest.raises(TooLarge, match="MAX_DEPTH"):
            read_graph(stream, NoNames())


def test_what_holds_itself_is_refused():
    value = {}
    value["x"] = [value]
    with pytest.raises(Refused, match="holds itself"):
        read_graph(io.BytesIO(pickle.dumps(value)), NoNames())


def test_names_are_refused_before_anything_is_imported():
    with pytest.raises(Refused, match=r"^collections.OrderedDict$"):
        read_graph(io.BytesIO(pickle.dumps(collections.OrderedDict())), NoNames())


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_cut_pickles_are_errors(cut):
    content = pickle.dumps(VALUES[0], 5)
    with pytest.raises((EOFError, ValueError, IndexError, pickle.UnpicklingError)):
        read_graph(io.BytesIO(content[:cut]), NoNames())
