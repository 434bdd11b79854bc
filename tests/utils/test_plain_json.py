"""Json of others: every bomb is a ValueError, also where it would only go off later."""

import pytest

from querydet.evaluation.instability import load_matching
from querydet.evaluation.results_file import read_results
from querydet.utils.plain_json import parse_json
from querydet.utils.provenance import read_parts
from querydet.visualization.candidate_pictures import read_ranks
from querydet.visualization.runs import read_metrics
from tests.evaluation.hand_made import make_dataset

BOMBS = {
    "lists": "[" * 200_000,
    "objects": '{"a":' * 200_000,
    "nested and closed": "[" * 100_000 + "]" * 100_000,
    "digits": f"[{'9' * 2_000_000}]",
    "beyond a float": f'{{"iteration": {"9" * 400}, "x": 1}}',
    "a value beyond a float": f'{{"iteration": 1, "x": -{"9" * 400}}}',
    "infinite iteration": '{"iteration": 1e999}',
    "no text": "\0" * 10,
}


def results(path):
    return read_results(str(path), make_dataset([[0, 0, 10, 10]], []))


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("run.json", lambda path: read_parts(str(path.parent))),
        ("metrics.json", lambda path: read_metrics(str(path))),
        ("results.json", results),
        ("matching.json", lambda path: load_matching(str(path))),
        ("candidates.json", lambda path: read_ranks(str(path))),
    ],
)
def test_readers_refuse_bombs_by_the_name_of_the_file(tmp_path, name, read, bomb):
    (tmp_path / name).write_text(f"{BOMBS[bomb]}\n{BOMBS[bomb]}\n" if name == "metrics.json" else BOMBS[bomb])
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name)


def test_numbers_are_those_of_json():
    assert parse_json("[1, -2, 3.5, 1e3, " + "9" * 300 + "]") == [1, -2, 3.5, 1000.0, int("9" * 300)]
