"""Named data sets: sequences of Detectron2 dicts that carry the name of their metadata.

Detectron2 keeps class names in its `MetadataCatalog` under the name of the data set, separate from the list of dicts
that a loader reads. Here the sequence carries that name, so that the config node of a data set is all that the loaders,
the evaluator and the visualization need.
"""

import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from detectron2.data import DatasetCatalog, DatasetFromList, MetadataCatalog

from querydet.data.sources import json_files
from querydet.utils.digest import short_digest

logger = logging.getLogger(__name__)


class DetectionDataset(Sequence[dict[str, Any]]):
    """Detectron2 dataset dicts together with the name under which their metadata is registered.

    Args:
        records: one dict per image, as in Detectron2's "standard dataset dicts": a list, or any sequence that makes
            them when they are asked for.
        name: the key in Detectron2's `MetadataCatalog`.
        annotated: False for images without annotations, such as COCO's test-dev; an annotated image may have no object.

    Attributes:
        records: as given.
    """

    def __init__(self, records: Sequence[dict[str, Any]] = (), name: str = "", annotated: bool = True) -> None:
        self.records = records
        self.name = name
        self.annotated = annotated

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        return self.records[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)


def shared_records(dataset: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Return the records of a data set as data workers share them: a list is serialised into one block of memory."""
    records = getattr(dataset, "records", dataset)
    if isinstance(records, list | tuple):
        return DatasetFromList(list(records), copy=False, serialize=True)
    return records.shared(shared_records) if hasattr(records, "shared") else records


def known_digests(dataset: Any) -> dict[str, Any]:
    """Return what the records of a data set know of their fingerprint; see `fingerprint.fingerprint`."""
    return dict(getattr(getattr(dataset, "records", None), "digests", {}))


def class_names(dataset: Any) -> list[str]:
    """Return the class names in the order of the contiguous class indices.

    Args:
        dataset: a `DetectionDataset`, any object with a `name` (such as `loader.dataset`), or the name itself.

    Raises:
        ValueError: the data set has no name or no registered class names.
    """
    name = dataset if isinstance(dataset, str) else getattr(dataset, "name", "")
    names = MetadataCatalog.get(name).get("thing_classes") if name else None
    if not names:
        raise ValueError(
            f"no class names are registered for data set '{name}': load it with querydet.data.load_coco or set "
            "MetadataCatalog.get(name).thing_classes"
        )
    return list(names)


def is_annotated(dataset: Any) -> bool:
    """Return whether a data set has annotations to compare with; True for data that do not say so."""
    return bool(getattr(dataset, "annotated", True))


def need_annotations(dataset: Any, purpose: str) -> None:
    """Check that a data set has annotations.

    Args:
        dataset: see `is_annotated`.
        purpose: what needs them, for the message.

    Raises:
        ValueError: it lists images alone.
    """
    if not is_annotated(dataset):
        raise ValueError(
            f"{purpose} compares with annotations, but the data set lists images alone{_of_file(dataset)}: its "
            "detections can only be written"
        )


def check_num_classes(num_classes: int, dataset: Any, option: str = "model.num_classes") -> None:
    """Check that a model and a data set have the same number of classes.

    Args:
        num_classes: number of classes of the model.
        dataset: see `class_names`.
        option: config key that the message names.

    Raises:
        ValueError: the counts differ.
    """
    names = class_names(dataset)
    if num_classes != len(names):
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise ValueError(
            f"{option} is {num_classes}, but the data set has {len(names)} classes ({shown}){_of_file(dataset)}: set "
            f"{option}={len(names)}"
        )


def check_same_classes(trained: Sequence[str], tested: Sequence[str], dataset: Any = None) -> None:
    """Check that a model is evaluated on the classes that it was trained on.

    Args:
        trained: class names of the training data, from `class_names`.
        tested: class names of the test data.
        dataset: the test data, of which the message names the file.

    Raises:
        ValueError: they differ; the message has the first difference.
    """
    for index, (first, second) in enumerate(itertools.zip_longest(trained, tested)):
        if first != second:
            raise ValueError(
                f"class {index} is {_or_none(first)} in the training data, but {_or_none(second)} in the test data"
                f"{_of_file(dataset)}: give both annotation files the same categories with the same order of ids"
            )


def default_name(annotations: str, images: str, classes: Sequence[str] = ()) -> str:
    """Derive a readable name: the annotation file's stem and a digest of both paths and of other data's classes."""
    paths = "\n".join([os.path.abspath(annotations), os.path.abspath(images), *classes])
    stem = os.path.splitext(os.path.basename(annotations))[0]
    return f"{stem}_{short_digest(paths)}"


def register(
    name: str,
    load: Callable[[], Sequence[dict[str, Any]]],
    classes: Sequence[str],
    category_ids: Mapping[int, int],
    absent: Sequence[int] = (),
    frequency: Sequence[str] = (),
    **paths: str,
) -> None:
    """Register a data set in Detectron2's catalogs; registering it again with the same paths replaces the first.

    Args:
        name: name of the data set.
        load: returns the dataset dicts; called by `DatasetCatalog.get(name)`.
        classes: class names in the order of the contiguous class indices.
        category_ids: maps category ids of the json to contiguous class indices.
        absent: class indices that the json has no category for; their ids are made up.
        frequency: of every class, LVIS's "r", "c" or "f"; empty for data that have none.
        paths: `json_file` and `image_root`, which Detectron2's own tools read.

    Raises:
        ValueError: the name is taken by a data set with other files.
    """
    if name in DatasetCatalog:
        metadata = MetadataCatalog.get(name)
        for key, path in paths.items():
            taken = metadata.get(key)
            if taken is None or os.path.abspath(taken) != os.path.abspath(path):
                raise ValueError(f"data set name '{name}' is taken by {key}={taken}, cannot use it for {path}")
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, functools.partial(_fresh_list, load))
    MetadataCatalog.get(name).set(
        thing_classes=list(classes),
        thing_dataset_id_to_contiguous_id=dict(category_ids),
        absent_classes=tuple(absent),
        class_frequency=list(frequency),
        evaluator_type="coco",
        **paths,
    )


def _of_file(dataset: Any) -> str:
    """Return " in FILE" for a message, or "" for data without a registered file."""
    paths = json_files(dataset)
    return f" in {', '.join(paths)}" if paths else ""


def _or_none(name: str | None) -> str:
    return "none" if name is None else f"'{name}'"


def _fresh_list(load: Callable[[], Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    return list(load())
