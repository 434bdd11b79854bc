"""The batched solver against scipy: optimal, complete, deterministic, and nothing is matched by a broken cost."""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from querydet.ops import linear_sum_assignment as operator
from querydet.ops.linear_sum_assignment import (
    UnusableCostError,
    linear_sum_assignment,
    linear_sum_assignment_reference,
)
from tests.ops.registered import assert_registered, needs_extension

ROOT = Path(__file__).parents[2]
SIZES = [(1, 1), (3, 900), (40, 300), (0, 7), (7, 0), (9, 4), (1, 33), (33, 1), (64, 64), (100, 101), (17, 16)]


def random_costs(sizes: list[tuple[int, int]], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(rows * columns for rows, columns in sizes), generator=generator, dtype=dtype)


def check_optimal(costs: Tensor, sizes: list[tuple[int, int]], found: tuple[Tensor, ...]) -> None:
    """A matching of as many pairs as fit, whose total is scipy's."""
    problems = costs.split([rows * columns for rows, columns in sizes])
    for problem, (rows, columns), matched in zip(problems, sizes, found, strict=True):
        assert matched.shape == (rows,)
        assert matched.dtype is torch.int64
        taken = matched[matched != -1]
        assert len(taken) == len(taken.unique()) == min(rows, columns)
        if len(taken) == 0:
            continue
        assert 0 <= int(taken.min()) <= int(taken.max()) < columns
        matrix = problem.view(rows, columns).double().numpy()
        total = matrix[(matched != -1).numpy(), taken.numpy()].sum()
        least = matrix[scipy.optimize.linear_sum_assignment(matrix)].sum()
        assert abs(total - least) <= 1e-12 * min(rows, columns) * np.abs(matrix).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_many_problems_of_many_sizes_have_scipys_assignments(seed: int, dtype: torch.dtype) -> None:
    costs = random_costs(SIZES, seed, dtype)
    found = linear_sum_assignment(costs, SIZES)
    check_optimal(costs, SIZES, found)
    wanted = linear_sum_assignment_reference(costs, *zip(*SIZES, strict=True))
    assert torch.equal(torch.cat(found), wanted), "continuous costs have one optimum"


def test_queries_that_crowd_around_objects() -> None:
    """As after training: many rows want the same few columns, and paths are long."""
    generator = torch.Generator().manual_seed(0)
    places, objects = torch.rand(300, 2, generator=generator), torch.rand(80, 2, generator=generator) * 0.1
    costs = torch.cdist(objects, places).flatten()
    found = linear_sum_assignment(costs, [(80, 300)])
    check_optimal(costs, [(80, 300)], found)
    assert torch.equal(found[0], linear_sum_assignment_reference(costs, [80], [300]))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=1, max_size=4),
    kind=st.sampled_from(["ties", "continuous", "constant", "huge", "small", "both", "one row"]),
    double=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_total_is_the_least(sizes: list[tuple[int, int]], kind: str, double: bool, seed: int) -> None:
    costs = random_costs(sizes, seed, torch.float64 if double else torch.float32)
    if kind == "ties":
        costs = (costs * 2).round()
    elif kind == "constant":
        costs = torch.full_like(costs, 3.5)
    elif kind in ("huge", "both"):
        costs = costs * (1e290 if double else 1e37)
    elif kind == "small":
        costs = costs * (1e-300 if double else 1e-40)
    elif kind == "one row":
        costs = costs.where(costs > 0, 0)
    if kind == "both" and len(costs):
        costs[::2] *= 1e-60 if double else 1e-30
    check_optimal(costs, sizes, linear_sum_assignment(costs, sizes))


def test_by_hand() -> None:
    """Greedily, row 0 takes column 0 and the total is 1 + 9; the optimum is 2 + 2."""
    (found,) = linear_sum_assignment(torch.tensor([1.0, 2.0, 2.0, 9.0]), [(2, 2)])
    assert found.tolist() == [1, 0]
    (found,) = linear_sum_assignment(torch.tensor([3.0, 1.0, 2.0]), [(3, 1)])
    assert found.tolist() == [-1, 0, -1]
    assert linear_sum_assignment(torch.empty(0), []) == ()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    ("rows", "columns", "at"), [(3, 40, (2, 39)), (3, 40, (0, 0)), (40, 3, (39, 1)), (1, 1, (0, 0))]
)
def test_a_cost_that_is_not_finite_is_named(bad: float, rows: int, columns: int, at: tuple[int, int]) -> None:
    sizes = [(2, 5), (rows, columns), (4, 4)]
    costs = random_costs(sizes)
    costs[10:-16].view(rows, columns)[at] = bad
    with pytest.raises(UnusableCostError, match=f"cost of row {at[0]} and column {at[1]} of problem 1 is {bad}"):
        linear_sum_assignment(costs, sizes)
    others = torch.ops.querydet.linear_sum_assignment(costs, *map(list, zip(*sizes, strict=True)))
    assert (others[:2] >= 0).all()
    assert (others[-4:] >= 0).all(), "the other problems are solved"


def test_double_costs_whose_sums_might_overflow_are_refused() -> None:
    with pytest.raises(UnusableCostError, match="below 2\\^992 in float64"):
        linear_sum_assignment(torch.full((4,), 1e305, dtype=torch.float64), [(2, 2)])
    largest = torch.finfo(torch.float32).max
    (found,) = linear_sum_assignment(torch.tensor([largest, -largest, largest, largest]), [(2, 2)])
    assert found.tolist() == [1, 0]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="rows times columns sum to 6, but there are 5 costs"):
        linear_sum_assignment(torch.rand(5), [(2, 3)])
    with pytest.raises(ValueError, match=r"flat float32 or float64, but are torch\.float16 of shape \(6,\)"):
        linear_sum_assignment(torch.rand(6).half(), [(2, 3)])
    with pytest.raises(ValueError, match=r"of shape \(2, 3\)"):
        linear_sum_assignment(torch.rand(2, 3), [(2, 3)])
    with pytest.raises(ValueError, match="must be numbers >= 0"):
        linear_sum_assignment(torch.rand(6), [(-2, -3)])
    with pytest.raises(RuntimeError, match="rows times columns sum to 6, but there are 5 costs"):
        torch.ops.querydet.linear_sum_assignment(torch.rand(5), [2], [3])


@needs_extension
def test_the_number_of_threads_does_not_matter() -> None:
    sizes = [(40, 300)] * 20 + SIZES
    costs = random_costs(sizes)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(torch.cat(linear_sum_assignment(costs, sizes)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_strided_costs() -> None:
    costs = torch.rand(12, 2)[:, 0]
    assert not costs.is_contiguous()
    assert torch.equal(*(linear_sum_assignment(each, [(3, 4)])[0] for each in (costs, costs.contiguous())))


def test_opcheck() -> None:
    results = torch.library.opcheck(torch.ops.querydet.linear_sum_assignment, (torch.rand(22), [2, 0, 4], [5, 3, 3]))
    assert set(results.values()) == {"SUCCESS"}, results


@needs_extension
def test_schema_is_the_extensions_and_there_is_a_kernel() -> None:
    assert_registered(operator._SCHEMA)


INSTRUCTION_SET = """
import sys, torch
costs, rows, columns = torch.load(sys.argv[2])
torch.ops.load_library(sys.argv[1])
found = torch.ops.querydet.linear_sum_assignment(costs, rows, columns)
double = torch.ops.querydet.linear_sum_assignment(costs.double(), rows, columns)
torch.save((torch.ops.querydet.cpu_instruction_set(), found, double), sys.argv[3])
"""

WITHOUT_EXTENSION = """
import sys, torch
from querydet.ops import linear_sum_assignment as operator
assert operator.native.MISSING_EXTENSION, "the extension was loaded"
costs, rows, columns = torch.load(sys.argv[2])
found = operator.linear_sum_assignment(costs, list(zip(rows, columns)))
costs[3] = torch.inf
try:
    operator.linear_sum_assignment(costs, list(zip(rows, columns)))
except operator.UnusableCostError as error:
    assert (error.problem, error.row, error.column) == (1, 0, 2), error
    torch.save(("none", torch.cat(found), torch.cat(found)), sys.argv[3])
"""


@needs_extension
@pytest.mark.parametrize(
    ("variable", "value", "script", "name"),
    [
        ("QUERYDET_CPU", "baseline", INSTRUCTION_SET, "baseline"),
        ("QUERYDET_NO_EXTENSION", "1", WITHOUT_EXTENSION, "none"),
    ],
)
def test_other_processors_and_none_find_the_same(
    variable: str, value: str, script: str, name: str, tmp_path: Path
) -> None:
    from querydet import _C

    costs, (rows, columns) = random_costs(SIZES), zip(*SIZES, strict=True)
    torch.save((costs, list(rows), list(columns)), tmp_path / "in.pt")
    completed = subprocess.run(
        [sys.executable, "-c", script, _C.__file__, tmp_path / "in.pt", tmp_path / "out.pt"],
        env={**os.environ, variable: value},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    used, *found = torch.load(tmp_path / "out.pt")
    assert used == name
    for each in found:
        assert torch.equal(each, torch.cat(linear_sum_assignment(costs, SIZES)))


@needs_extension
@pytest.mark.parametrize("number", [2, 4, 8])
def test_sizes_whose_products_overflow_are_refused(number):
    """Four products of 2^62 are 0 again in 64 bits."""
    with pytest.raises(RuntimeError, match=r"rows times columns sum to .*, but there are 0 costs"):
        torch.ops.querydet.linear_sum_assignment(torch.empty(0), [2**31 - 2] * number, [2**31 - 2] * number)
