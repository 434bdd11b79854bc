"""Batched linear sum assignment on the host: the operator `querydet::linear_sum_assignment`.

Every row (object) of a cost matrix is matched to a column (query) of its own, so that the total cost is minimal. With
the compiled extension `querydet._C` problems are solved in parallel by shortest augmenting paths
(`ops/csrc/cpu/assignment.h`); without it, one after the other by scipy, which is also the definition that the kernels
are tested against. Both are exact; where several assignments are optimal they may return different ones.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from querydet.ops import native  # loads the extension, if there is one

OPERATOR = "querydet::linear_sum_assignment"
# Equal to the schema in ops/csrc/schema.cpp: the operator is defined here if the extension was not built.
_SCHEMA = "linear_sum_assignment(Tensor costs, int[] rows, int[] columns) -> Tensor"
NONE, UNUSABLE = -1, -2  # in place of a column: the row is unmatched; the problem was not solved
_HEADROOM = 2.0**32  # float64 costs times this must be finite, so that sums of them are finite too


class UnusableCostError(FloatingPointError):
    """A cost is NaN, infinite or too large to be summed.

    Attributes:
        problem: index of the problem.
        row, column: position of its first unusable cost.
    """

    def __init__(self, problem: int, row: int, column: int, value: float) -> None:
        super().__init__(
            f"cost of row {row} and column {column} of problem {problem} is {value}: costs must be finite, and below "
            "2^992 in float64"
        )
        self.problem, self.row, self.column = problem, row, column


def linear_sum_assignment(costs: Tensor, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    """Solve many assignment problems.

    Args:
        costs: float32 or float64 on the CPU, flat: the matrices of all problems one after the other, row by row.
        sizes: (rows, columns) of each problem.

    Returns:
        For each problem, the column of each row, int64. With more rows than columns, the unmatched rows have -1; they
        are those whose omission makes the total minimal.

    Raises:
        ValueError: costs have another shape, dtype or device.
        UnusableCostError: a cost is not finite, or in float64 not below 2^992.
    """
    rows, columns = [rows for rows, _ in sizes], [columns for _, columns in sizes]
    check_costs(costs, rows, columns)
    matched = torch.ops.querydet.linear_sum_assignment(costs, rows, columns)
    columns_by_problem = matched.split(rows)
    if (matched == UNUSABLE).any():
        index = next(index for index, column in enumerate(columns_by_problem) if (column == UNUSABLE).any())
        problem = costs.split([row * column for row, column in sizes])[index].view(sizes[index])
        row, column = (~_usable(problem)).nonzero()[0].tolist()
        raise UnusableCostError(index, row, column, problem[row, column].item())
    return columns_by_problem


def check_costs(costs: Tensor, rows: Sequence[int], columns: Sequence[int]) -> None:
    """Raise ValueError, naming the offending argument, unless the arguments of the operator fit together."""
    if costs.device.type not in ("cpu", "meta"):
        raise ValueError(f"costs must be on the CPU, but are on {costs.device}: copy those of all problems at once")
    if costs.dim() != 1 or costs.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"costs must be flat float32 or float64, but are {costs.dtype} of shape {tuple(costs.shape)}")
    if len(rows) != len(columns) or any(size < 0 for size in (*rows, *columns)):
        raise ValueError(f"rows and columns must be numbers >= 0, one for each problem, but are {rows} and {columns}")
    total = sum(row * column for row, column in zip(rows, columns, strict=True))
    if costs.shape[0] != total:
        raise ValueError(f"rows times columns sum to {total}, but there are {costs.shape[0]} costs")


def _usable(costs: Tensor) -> Tensor:
    return (costs * _HEADROOM if costs.dtype is torch.float64 else costs).isfinite()


def linear_sum_assignment_reference(costs: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Compute the operator with scipy: the column of each row, -1 for an unmatched row, -2 in a problem not solved."""
    import scipy.optimize  # takes long; with the extension nobody needs it

    solutions = []
    sizes = list(zip(rows, columns, strict=True))
    for problem, size in zip(costs.split([row * column for row, column in sizes]), sizes, strict=True):
        matched = np.full(size[0], NONE, dtype=np.int64)
        if not _usable(problem).all():
            matched[:] = UNUSABLE
        else:
            chosen, column = scipy.optimize.linear_sum_assignment(problem.view(size).detach().numpy())
            matched[chosen] = column
        solutions.append(torch.from_numpy(matched))
    return torch.cat(solutions) if solutions else torch.empty(0, dtype=torch.int64)


def _definition(costs: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    check_costs(costs, rows, columns)
    return linear_sum_assignment_reference(costs, rows, columns)


def _fake(costs: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    check_costs(costs, rows, columns)
    return costs.new_empty(sum(rows), dtype=torch.int64)


_LIBRARY = native.define_operator(_SCHEMA, _definition, _fake)
