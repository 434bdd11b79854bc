"""Problems of a data set by kind, raised in one message."""

from querydet.utils.texts import listed

MAX_SHOWN = 20  # ids listed per kind of problem; a broken exporter would otherwise fill the screen


class ProblemsError(ValueError):
    """Problems of a data set.

    Args:
        message: all of them.
        kinds: places of the problems by kind.
    """

    def __init__(self, message: str, kinds: dict[str, list[str]]) -> None:
        super().__init__(message)
        self.kinds = kinds


class ProblemReport:
    """Collects problems by kind and raises them all at once.

    Args:
        source: name of the file with the problems, for the message.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, where: str) -> None:
        """Add one problem.

        Args:
            kind: heading of the group of problems.
            where: names the entry that has the problem.
        """
        self._kinds.setdefault(kind, []).append(where)

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Return the places of all problems by kind."""
        return dict(self._kinds)

    def raise_if_any(self, remedy: str = "") -> None:
        """Raise all problems in one message.

        Args:
            remedy: the last line of the message.

        Raises:
            ProblemsError: at least one problem was added; the message lists all kinds.
        """
        if not self._kinds:
            return
        total = sum(len(places) for places in self._kinds.values())
        lines = [f"{self._source}: {total} problem{'s' if total > 1 else ''} in the annotations"]
        for kind, places in self._kinds.items():
            lines.append(f"  - {kind}: {listed(places, MAX_SHOWN)}")
        lines += [f"  {remedy}"] if remedy else []
        raise ProblemsError("\n".join(lines), self.kinds)
