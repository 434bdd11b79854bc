"""The classes of a model among those of a file, by name, by a known map, or by their order."""

from collections.abc import Sequence

from querydet.checkpoint.class_maps import KnownMap, plain_name

Rows = tuple[int | None, ...]  # for each class of the model its number in the file; None for a new one


def match_classes(
    before: int, after: int, source: Sequence[str], target: Sequence[str], known: KnownMap | None = None
) -> tuple[Rows, tuple[str, ...]]:
    """Find the classes of a model in a file.

    Args:
        before: number of classes in the file.
        after: number of classes of the model.
        source: their names in the file; empty where nobody knows them.
        target: names of the model's classes, likewise.
        known: finds the classes that have another name in the file.

    Returns:
        The numbers, and lines that say where they come from; no lines where nothing differs.

    Raises:
        ValueError: the file does not fit the map.
    """
    if known is not None:
        return _by_map(before, after, source, target, known)
    if source and target:
        numbers = _numbers(source)
        rows = tuple(numbers.get(plain_name(name)) for name in target)
        same = [name for name, origin in zip(target, rows, strict=True) if origin is not None]
        summary = f"classes: {before} in the file, {after} in the model; found by name: {', '.join(same) or 'none'}"
        return rows, () if rows == tuple(range(before)) else (summary,)
    if before == after:
        unsure = "classes: taken in their order, as only one side has names"
        return tuple(range(after)), (unsure,) if source or target else ()
    return (None,) * after, (f"classes: {before} in the file, {after} in the model, without names to find them by",)


def _by_map(
    before: int, after: int, source: Sequence[str], target: Sequence[str], known: KnownMap
) -> tuple[Rows, tuple[str, ...]]:
    first = known.first_row(before)
    if not target and after == len(known.rows):
        target = tuple(known.rows)
    numbers = _numbers(source)
    rows: list[int | None] = []
    named, mapped = [], []
    for name in target:
        plain = plain_name(name)
        number = numbers.get(plain, known.rows.get(plain))
        rows.append(None if number is None else number + first)
        if number is None:
            continue
        if plain in numbers:
            named.append(name)
        else:
            mapped.append(f"{name} from {_shown(number + first, source, first)}")
    rows += [None] * (after - len(rows))
    lines = (
        f"classes: {before} in the file, {after} in the model",
        f"classes found by name: {', '.join(named) or 'none'}",
        f"classes found by {known.name}: {', '.join(mapped) or 'none'}",
    )
    return tuple(rows), lines


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of names; of equal names the first."""
    return {plain_name(name): index for index, name in reversed(list(enumerate(names)))}


def _shown(row: int, source: Sequence[str], first: int) -> str:
    return f"row {row} ('{source[row - first]}')" if source else f"row {row}"
