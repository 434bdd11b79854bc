"""Contestants of a benchmark run one at a time, in processes of their own; those that cannot run are named."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.turns import Contestant, compete


def fake(name: str, function: str, **arguments: Any) -> Contestant:
    return Contestant(name, f"tests.fake_contestants:{function}", arguments, {"model": "fake"})


def test_one_runs_at_a_time_and_each_in_every_round(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    rows = compete(
        [fake("slow", "sleeper", seconds=0.06, log=log), fake("fast", "sleeper", seconds=0.01, log=log)], 2, 1
    )
    turns = [line.split() for line in Path(log).read_text().splitlines()]
    assert len(turns) == 2 * (1 + 1 + 2)  # the result, the round that warms up, two that count
    assert all(one[0] != other[0] and float(one[2]) <= float(other[1]) for one, other in pairwise(turns))
    slow, fast = rows
    assert slow["milliseconds"] > 55
    assert 9 < fast["milliseconds"] < slow["milliseconds"]
    assert len(slow["rounds"]) == 2
    assert slow["model"] == "fake"
    assert slow["peak_mib"] > 1
    assert slow["cpu_milliseconds"] < 50  # it slept


def test_the_threads_of_others_are_paused(tmp_path: Path) -> None:
    log, turns = tmp_path / "awake", tmp_path / "turns"
    compete([fake("restless", "restless", log=str(log)), fake("a", "sleeper", seconds=0.1, log=str(turns))], 1, 1)
    awake = [float(line) for line in log.read_text().splitlines()]
    assert awake
    for line in turns.read_text().splitlines():
        start, end = map(float, line.split()[1:])
        assert not [moment for moment in awake if start + 0.02 < moment < end]  # a write may be on its way


@pytest.mark.parametrize(
    ("contestant", "reason"),
    [
        (fake("a", "unbuildable"), "ValueError: it takes squares"),
        (fake("a", "dying", calls=0), "ended by exit status 3"),
        (fake("a", "dying", calls=2), "ended by exit status 3"),
        (fake("a", "failing", calls=1), "RuntimeError: out of memory"),
        (fake("a", "failing", calls=3), "RuntimeError: out of memory"),
        (Contestant("a", "no_such_package.peer:make"), "ModuleNotFoundError: No module named 'no_such_package'"),
    ],
)
def test_who_cannot_run_is_absent_with_the_reason(contestant: Contestant, reason: str) -> None:
    absent, present = compete([contestant, fake("b", "sleeper", seconds=0.0)], 2, 1)
    assert absent["absent"] == reason
    assert "milliseconds" not in absent
    assert len(present["rounds"]) == 2


def test_what_libraries_print_is_no_answer() -> None:
    (row,) = compete([fake("a", "talkative")], 1, 1)
    assert "absent" not in row


def test_settings_of_the_parent_reach_no_contestant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "MALLOC_ARENA_MAX", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "1")
    names = ["OMP_WAIT_POLICY", "MALLOC_ARENA_MAX", "KMP_BLOCKTIME", "OMP_NUM_THREADS"]
    seen: dict[str, Any] = {}

    def look(results: Any) -> dict[str, float]:
        seen.update(results)
        return {"a": 0.5}

    (row,) = compete([fake("a", "environment", names=names)], 1, 2, look)
    assert seen["a"] == {**dict.fromkeys(names), "OMP_NUM_THREADS": "2"}
    assert row["agreement"] == 0.5
