"""Published numbers of recipes: the rows of the papers' tables, and of the repositories that publish weights.

Every project has them in a file ``tables.yaml``:

    paper: DINO
    arxiv: "2203.03605"
    reasons:              # why rows have no recipe, by name
      convolutional: a detector of convolutions, without queries
    tables:
    - table: table 1      # of the paper
      part: DETR          # where a table has several
      about: R50, 12 epochs
      epochs: 12          # of all rows, where no column has them
      columns: [AP, AP50]
      rows:
      - {row: label, values: [49.0, 66.6], recipe: dino_r50_4scale_12ep}
      - {row: label, values: [37.9, ~], reason: convolutional}
    others:               # recipes that no row needs, and why they are there
      dino_r50_4scale_bccd: trains from scratch on photographs of blood cells

``~`` is a number that is not printed, and empty values are those of a figure. ``weights`` of a row names the published
weights of `querydet.model_zoo` that the number is of. The columns "AP" and "mask AP" are those of boxes and of masks on
COCO val2017, "test-dev AP" and "LVIS AP" those of boxes on COCO test-dev and on LVIS v1 val. A table with ``source`` in
place of ``table`` is that of a repository.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from querydet.config.locations import config_root, shipped_configs

FILE = "tables.yaml"
BOXES, MASKS = "boxes", "masks"
PRECISIONS = {  # columns that are the AP of a recipe, of either kind, and what is said of them
    BOXES: {"AP": "", "test-dev AP": " on test-dev", "LVIS AP": " on LVIS"},
    MASKS: {"mask AP": ""},
}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        label: of the row, in words of our own.
        values: printed numbers by column, without those that are not printed.
        epochs: of its training, where they are known.
        recipe: name of the recipe; None where it is not expressible.
        reason: why there is no recipe.
        weights: name of the published weights that the numbers are of.
    """

    label: str
    values: dict[str, float]
    epochs: int | None
    recipe: str | None
    reason: str | None
    weights: str | None


@dataclass(frozen=True)
class Table:
    """A table of numbers.

    Args:
        source: what prints it: a paper, or a repository.
        name: its number in the paper, such as "table 1"; empty for a repository.
        part: of a table that has several, such as the base of its rows.
        about: what all rows have in common.
        rows: in the printed order.
    """

    source: str
    name: str
    part: str
    about: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Source and name, such as "DINO, table 1"."""
        return f"{self.source}, {self.name}" if self.name else self.source


@dataclass(frozen=True)
class Publication:
    """The numbers that a project knows.

    Args:
        project: its folder in ``projects/``.
        paper: short name of its paper.
        arxiv: number of the paper on arXiv; empty where it has none.
        tables: of the paper first, then of repositories.
        others: recipes of the project that no table needs, with the reason for them.
    """

    project: str
    paper: str
    arxiv: str
    tables: tuple[Table, ...]
    others: dict[str, str]


@cache
def publications() -> tuple[Publication, ...]:
    """Return the published numbers of all projects.

    Raises:
        ValueError: a file contradicts its format.
    """
    return tuple(read_publication(path) for path in sorted((config_root() / "projects").glob(f"*/{FILE}")))


def read_publication(path: Path) -> Publication:
    """Read the numbers of a project.

    Args:
        path: its ``tables.yaml``.

    Raises:
        ValueError: a row has another number of values than columns, an unknown reason, or not either of recipe and
            reason.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    reasons = content.get("reasons", {})
    tables = []
    for table in content["tables"]:
        name, source = table.get("table", ""), table.get("source", content["paper"])
        rows = tuple(_read_row(row, table, reasons, f"{path}, {name or source}") for row in table["rows"])
        tables.append(Table(source, name, table.get("part", ""), table.get("about", ""), rows))
    others = content.get("others", {})
    return Publication(path.parent.name, content["paper"], content.get("arxiv", ""), tuple(tables), others)


def _read_row(row: dict[str, Any], table: dict[str, Any], reasons: dict[str, str], place: str) -> Row:
    place, columns, values = f"{place}, row '{row['row']}'", table["columns"], row["values"]
    if values and len(values) != len(columns):
        raise ValueError(f"{place}: {len(values)} values for the {len(columns)} columns {', '.join(columns)}")
    if ("recipe" in row) == ("reason" in row):
        raise ValueError(f"{place} has to have either a recipe or a reason why there is none")
    if "reason" in row and row["reason"] not in reasons:
        raise ValueError(f"{place}: unknown reason '{row['reason']}'; known are {', '.join(reasons)}")
    printed = {column: value for column, value in zip(columns, values, strict=False) if value is not None}
    return Row(
        label=row["row"],
        values=printed,
        epochs=printed.pop("epochs", table.get("epochs")),
        recipe=row.get("recipe"),
        reason=reasons[row["reason"]] if "reason" in row else None,
        weights=row.get("weights"),
    )


def rows_of(recipe: str) -> tuple[tuple[Table, Row], ...]:
    """Return the rows that a recipe stands for, with their tables.

    Args:
        recipe: its name.

    Returns:
        The rows of the paper of the recipe's own project first, then of other papers, then of repositories.
    """
    return tuple(item for item in all_rows(project_of(recipe)) if item[1].recipe == recipe)


def all_rows(first: str = "") -> list[tuple[Table, Row]]:
    """Return the rows of all tables, those of repositories last.

    Args:
        first: project whose rows precede those of other projects.
    """
    ordered = sorted(publications(), key=lambda publication: publication.project != first)
    rows = [(table, row) for publication in ordered for table in publication.tables for row in table.rows]
    return sorted(rows, key=lambda item: not item[0].name)


@cache
def recipes() -> dict[str, str]:
    """Return the path of every recipe from the root of the configs, by name."""
    return {Path(path).stem: path for path in shipped_configs() if path.startswith("projects/")}


def project_of(recipe: str) -> str:
    """Return the project that a recipe is in; empty for one that is not there."""
    return Path(recipes()[recipe]).parts[1] if recipe in recipes() else ""


@cache
def precisions(recipe: str, kind: str = BOXES) -> dict[str, tuple[str, ...]]:
    """Return the published AP of a recipe, each with the titles of the tables that print it.

    Args:
        recipe: its name.
        kind: of the AP, `BOXES` or `MASKS`.

    Returns:
        Numbers as text, such as "49.0" or "63.5 on test-dev"; one for each that is printed, in the order of `rows_of`.
    """
    found: dict[str, list[str]] = {}
    for table, row in rows_of(recipe):
        for column, note in PRECISIONS[kind].items():
            if column in row.values:
                titles = found.setdefault(f"{row.values[column]:.1f}{note}", [])
                titles += [table.title] if table.title not in titles else []
    return {number: tuple(titles) for number, titles in found.items()}


def describe_precisions(recipe: str, kind: str = BOXES) -> str:
    """Return the published AP of a recipe in one line, with their sources; empty where none is published."""
    numbers = (f"{number} ({_join(titles)})" for number, titles in precisions(recipe, kind).items())
    return ", ".join(numbers)


def weights_precision(name: str) -> str:
    """Return the AP that is published with weights, such as "49.0", or "43.7 of masks" where boxes have none.

    Args:
        name: of the weights in the model zoo.

    Raises:
        KeyError: no table has them.
    """
    for _, row in all_rows():
        if row.weights == name:
            return f"{row.values['AP']:.1f}" if "AP" in row.values else f"{row.values['mask AP']:.1f} of masks"
    raise KeyError(f"no {FILE} of a project has a row with the weights '{name}'")


def _join(titles: tuple[str, ...]) -> str:
    """Join titles, those of the tables of one paper to one: "DINO, tables 1, 4"."""
    numbers: dict[str, list[str]] = {}
    for title in titles:
        source, _, number = title.partition(", table ")
        numbers.setdefault(source, []).extend([number] if number else [])
    return "; ".join(
        f"{source}, table{'s' * (len(found) > 1)} {', '.join(found)}" if found else source
        for source, found in numbers.items()
    )
