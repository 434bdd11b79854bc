"""Markdown of published numbers: recipes with theirs, and the rows of papers that have no recipe."""

from collections.abc import Callable, Sequence

from querydet.model_zoo.published import (
    MASKS,
    Row,
    Table,
    describe_precisions,
    project_of,
    publications,
    recipes,
    rows_of,
)


def recipe_table(project: str, trained: Callable[[str], str]) -> str:
    """Return a table of the recipes of a project: the rows that they stand for, and the published AP.

    Where a recipe has a published AP of masks, the table has a column of them.

    Args:
        project: name of its folder.
        trained: returns our AP of a recipe, or "no".
    """
    paper = next(publication.paper for publication in publications() if publication.project == project)
    names = [name for name in recipes() if project_of(name) == project]
    columns = {
        "recipe": [f"[{name}](configs/{name}.py)" for name in names],
        "stands for": [describe_purpose(name, paper) for name in names],
        "published AP": [cite_precisions(name) for name in names],
        "published mask AP": [describe_precisions(name, MASKS) for name in names],
        "trained by us": [trained(name) for name in names],
    }
    if not any(columns["published mask AP"]):
        del columns["published mask AP"]
    return markdown_table(list(columns), list(zip(*columns.values(), strict=True)))


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown whose cells are not padded: a long one would widen the others."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def describe_purpose(recipe: str, paper: str = "") -> str:
    """Return the rows of papers that a recipe stands for, else those of repositories, else the reason for it.

    Args:
        recipe: its name.
        paper: the paper whose tables are named without it.
    """
    found = rows_of(recipe)
    if not found:
        return next((one.others[recipe] for one in publications() if recipe in one.others), "")
    by_title: dict[str, list[str]] = {}
    for table, row in [item for item in found if item[0].name] or found:
        title = table.name if table.source == paper and table.name else table.title
        by_title.setdefault(title, []).append(label(table, row))
    return "; ".join(f"{title}: {', '.join(dict.fromkeys(labels))}" for title, labels in by_title.items())


def cite_precisions(recipe: str) -> str:
    """Return the published AP of a recipe with sources, or where it should be and is not printed."""
    expected = rows_of(recipe) and not describe_precisions(recipe, MASKS)
    return describe_precisions(recipe) or ("not printed" if expected else "none")


def label(table: Table, row: Row) -> str:
    """Return the label of a row, with the part of its table."""
    return f"{row.label} ({table.part})" if table.part else row.label


def absent_rows(project: str = "") -> str:
    """Return a list of the rows without recipe, by reason and table.

    Args:
        project: name of its folder; empty: of all projects.
    """
    places: dict[str, dict[str, list[str]]] = {}
    for publication in publications():
        if project in ("", publication.project):
            for table in publication.tables:
                for row in table.rows:
                    if row.reason:
                        labels = places.setdefault(row.reason, {}).setdefault(table.title, [])
                        labels += [label(table, row)] if label(table, row) not in labels else []
    return "\n".join(
        f"* {reason}: {'. '.join(f'{title}: ' + '; '.join(labels) for title, labels in tables.items())}."
        for reason, tables in places.items()
    )
