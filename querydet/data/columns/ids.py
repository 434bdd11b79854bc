"""Ids of a list, to look up many at once."""

import numpy as np

from querydet.data.columns.rows import INT64
from querydet.data.entries import is_id


class SortedIds:
    """The ids of a list and where they stand in it.

    Args:
        ids: (n,) int64.
    """

    def __init__(self, ids: np.ndarray) -> None:
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    def __contains__(self, value: object) -> bool:
        if not is_id(value) or not -INT64 <= value < INT64 or not len(self._sorted):
            return False
        return bool(self.positions(np.array([value]))[0] >= 0)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Return the positions of ids in the list; -1 for those that it lacks."""
        if not len(self._sorted):
            return np.full(len(ids), -1)
        places = np.searchsorted(self._sorted, ids)
        places[places == len(self._sorted)] = 0
        return np.where(self._sorted[places] == ids, self._order[places], -1)

    def repeated(self) -> np.ndarray:
        """Return the ids that are there more than once."""
        return np.unique(self._sorted[1:][self._sorted[1:] == self._sorted[:-1]])
