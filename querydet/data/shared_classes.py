"""The classes of several data sets that are used as one."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.data import MetadataCatalog

from querydet.data.catalog import class_names
from querydet.data.sources import json_files


@dataclass(frozen=True)
class SharedClasses:
    """The classes of a data set, as its metadata have them.

    Args:
        names: by class index.
        index_of: class index by category id.
        absent: indices of classes that no file has; their ids are made up.
        frequency: of every class, LVIS's "r", "c" or "f"; empty for data that have none.
    """

    names: list[str]
    index_of: Mapping[int, int]
    absent: tuple[int, ...] = ()
    frequency: tuple[str, ...] = ()


def classes_of(dataset: Any) -> SharedClasses:
    """Return the classes of a data set.

    Raises:
        ValueError: it has no registered classes.
    """
    names, metadata = class_names(dataset), MetadataCatalog.get(dataset.name)
    index_of = metadata.get("thing_dataset_id_to_contiguous_id") or {index: index for index in range(len(names))}
    frequency = tuple(metadata.get("class_frequency") or ())
    return SharedClasses(names, dict(index_of), tuple(metadata.get("absent_classes") or ()), frequency)


def common_classes(datasets: Sequence[Any]) -> SharedClasses:
    """Return the classes that all data sets have.

    A class that a data set lacks (`absent_classes`, after matching by name) has its id from another one.

    Raises:
        ValueError: names, their order, ids or frequencies differ; the message has the first difference.
    """
    found = [classes_of(dataset) for dataset in datasets]
    names = found[0].names
    for dataset, classes in zip(datasets[1:], found[1:], strict=True):
        for index, (one, other) in enumerate(itertools.zip_longest(names, classes.names)):
            if one != other:
                _refuse(datasets[0], dataset, f"class {index} is {_shown(one)}", _shown(other))
    id_of: dict[int, tuple[int, Any]] = {}
    for dataset, classes in zip(datasets, found, strict=True):
        for identifier, index in classes.index_of.items():
            if index in classes.absent:
                continue
            known, owner = id_of.setdefault(index, (identifier, dataset))
            if known != identifier:
                _refuse(owner, dataset, f"'{names[index]}' has the category id {known}", str(identifier))
    absent = tuple(index for index in range(len(names)) if index not in id_of)
    beyond = itertools.count(max((identifier for identifier, _ in id_of.values()), default=0) + 1)
    index_of = {identifier: index for index, (identifier, _) in sorted(id_of.items())}
    index_of |= {next(beyond): index for index in absent}
    return SharedClasses(names, index_of, absent, _common_frequency(datasets, found))


def _common_frequency(datasets: Sequence[Any], found: Sequence[SharedClasses]) -> tuple[str, ...]:
    """Return the frequency of every class; nothing where a data set has none.

    Raises:
        ValueError: that of a class differs.
    """
    known: dict[int, tuple[str, Any]] = {}
    for dataset, classes in zip(datasets, found, strict=True):
        for index, frequency in enumerate(classes.frequency):
            if not frequency:
                continue
            one, owner = known.setdefault(index, (frequency, dataset))
            if one != frequency:
                name = classes.names[index]
                _refuse(owner, dataset, f"'{name}' has the frequency '{one}'", f"'{frequency}'")
    if not all(classes.frequency for classes in found):
        return ()
    return tuple(known[index][0] if index in known else "" for index in range(len(found[0].names)))


def _refuse(one: Any, other: Any, first: str, second: str) -> None:
    raise ValueError(
        f"data sets that are joined need the same categories: {first} in {_place(one)}, but {second} in "
        f"{_place(other)}. Give both files the same categories, or match their names with classes=[...]"
    )


def _place(dataset: Any) -> str:
    return ", ".join(json_files(dataset)) or f"data set '{dataset.name}'"


def _shown(name: str | None) -> str:
    return "missing" if name is None else f"'{name}'"
