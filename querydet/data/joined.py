"""Data sets made of others: several joined to one, and some images of one.

    dataset=L(join_datasets)(datasets=[
        L(load_coco)(annotations="a.json", images="a"),
        L(without_first)(dataset=L(load_coco)(annotations="b.json", images="b"), count=5000),
    ])

Nothing is copied: records are made when they are asked for (`data.record_views`). Images keep their full paths, so
that files of one name in two folders stay apart, and every image has an id of its own.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from querydet.data.catalog import DetectionDataset, register
from querydet.data.record_columns import chunks, column
from querydet.data.record_views import ChosenRecords, JoinedRecords, Part
from querydet.data.shared_classes import SharedClasses, classes_of, common_classes
from querydet.data.sources import Source, choose_sources, sources_of
from querydet.utils.digest import short_digest

logger = logging.getLogger(__name__)

MAX_COMPARED = 64  # images with the id of another one whose files are compared
_PARTS = "parts"  # key of the metadata: what a data set is made of


def join_datasets(datasets: Sequence[DetectionDataset], name: str | None = None) -> DetectionDataset:
    """Join data sets of the same classes; their images follow one another.

    Image ids stay as they are, unless an earlier data set has one of them: then all image ids of the later one move by
    one number, beyond those before. Ids of annotations do so where their ranges overlap.

    Args:
        datasets: with the same categories: names, order, and ids.
        name: in Detectron2's catalogs; derived from those of the data sets if None.

    Raises:
        ValueError: there are none, their categories differ, only some have annotations, or image ids that are no
            integers are used twice.
    """
    if not len(datasets):
        raise ValueError("there are no data sets to join: name at least one in datasets=[...]")
    for number, dataset in enumerate(datasets):
        _check_dataset(dataset, f"datasets.{number}")
    _check_annotated(datasets)
    classes = common_classes(datasets)
    parts: list[Part] = []
    for dataset in datasets:
        parts.append(Part(dataset, _image_shift(parts, dataset), _annotation_shift(parts, dataset)))
    made_of = tuple(dataset.name for dataset in datasets)
    name = name or f"joined_{short_digest(chr(10).join(made_of))}"
    sources = tuple(source for dataset in datasets for source in sources_of(dataset))
    load = functools.partial(join_datasets, list(datasets), name)
    _register(name, load, made_of, classes, sources)
    joined = DetectionDataset(JoinedRecords(parts), name, datasets[0].annotated)
    sizes = " + ".join(str(len(dataset)) for dataset in datasets)
    logger.info("Data set %s joins %d data sets: %s = %d images", name, len(datasets), sizes, len(joined))
    return joined


def choose(
    dataset: DetectionDataset, start: int = 0, stop: int | None = None, name: str | None = None
) -> DetectionDataset:
    """Choose consecutive images of a data set, in the order of its file.

    Args:
        dataset: all images.
        start: first image, counted from 0.
        stop: the image after the last one; None: to the end.
        name: in Detectron2's catalogs; derived from that of the data set if None.

    Raises:
        ValueError: the data set does not have these images, or there are none.
    """
    _check_dataset(dataset, "dataset")
    end = len(dataset) if stop is None else stop
    if not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in (start, end)):
        raise ValueError(f"images are chosen by whole numbers, got start={start!r} and stop={stop!r}")
    if not 0 <= start < end <= len(dataset):
        raise ValueError(
            f"data set '{dataset.name}' has {len(dataset)} images: images {start} to {end - 1} cannot be chosen from it"
        )
    name = name or f"{dataset.name}_{start}_{end}"
    load = functools.partial(choose, dataset, start, stop, name)
    made_of = (f"{dataset.name}[{start}:{end}]",)
    _register(name, load, made_of, classes_of(dataset), choose_sources(sources_of(dataset), start, end))
    return DetectionDataset(ChosenRecords(dataset, range(start, end)), name, dataset.annotated)


def first(dataset: DetectionDataset, count: int, name: str | None = None) -> DetectionDataset:
    """Choose the first images of a data set, in the order of its file; see `choose`."""
    return choose(dataset, 0, count, name)


def without_first(dataset: DetectionDataset, count: int, name: str | None = None) -> DetectionDataset:
    """Choose all images of a data set but the first ones, in the order of its file; see `choose`."""
    return choose(dataset, count, None, name)


def _register(
    name: str,
    load: Callable[[], Any],
    made_of: tuple[str, ...],
    classes: SharedClasses,
    sources: tuple[Source, ...],
) -> None:
    """Register a data set; `json_file` is missing, as no file has the images of this data set alone."""
    if name in DatasetCatalog and MetadataCatalog.get(name).get(_PARTS) != made_of:
        raise ValueError(f"data set name '{name}' is taken by another data set: choose another name for {made_of}")
    register(name, load, classes.names, classes.index_of, classes.absent, classes.frequency)
    MetadataCatalog.get(name).set(**{_PARTS: made_of, "sources": sources})


def _check_dataset(dataset: Any, argument: str) -> None:
    if not isinstance(dataset, DetectionDataset):
        kind = type(dataset).__name__
        raise ValueError(f"{argument} has to be a loaded data set, such as that of load_coco, and is of type {kind}")


def _check_annotated(datasets: Sequence[DetectionDataset]) -> None:
    bare = [dataset.name for dataset in datasets if not dataset.annotated]
    if bare and len(bare) < len(datasets):
        raise ValueError(f"data set '{bare[0]}' lists images alone, without annotations, and others have some")


def _image_shift(parts: Sequence[Part], dataset: DetectionDataset) -> int:
    """Return what is added to the image ids of a data set that follows others, and say why."""
    if not parts:
        return 0
    before = column(JoinedRecords(parts), "image_id")
    own = column(dataset, "image_id")
    if before.dtype == object or own.dtype == object:
        _refuse_shared_ids(dataset.name, set(before.tolist()) & set(own.tolist()))
        return 0
    twice = np.intersect1d(before, own)
    if not len(twice):
        return 0
    _warn_of_shared_images(JoinedRecords(parts), before, dataset, own, twice)
    shift = int(before.max()) + 1 - int(own.min())
    logger.warning(
        "%d image ids of data set '%s' are in use by the data sets before it (such as %d): %d is added to all of its "
        "image ids",
        len(twice),
        dataset.name,
        twice[0],
        shift,
    )
    return shift


def _refuse_shared_ids(name: str, twice: set[Any]) -> None:
    if twice:
        raise ValueError(
            f"data set '{name}' has the image id {min(twice, key=str)!r}, which an earlier one has, too: give the "
            "images other ids; only integers are changed"
        )


def _warn_of_shared_images(
    earlier: JoinedRecords, before: np.ndarray, dataset: DetectionDataset, own: np.ndarray, twice: np.ndarray
) -> None:
    """Warn when images have the id and the file of an earlier one: they are in the data set twice."""
    compared = twice[:: -(-len(twice) // MAX_COMPARED)]
    same = []
    for image_id in compared:
        first_name = earlier[int(np.flatnonzero(before == image_id)[0])]["file_name"]
        if dataset[int(np.flatnonzero(own == image_id)[0])]["file_name"] == first_name:
            same.append(first_name)
    if same:
        logger.warning(
            "%d of %d compared images of data set '%s' are in an earlier data set, too (such as %s): each of them "
            "counts twice",
            len(same),
            len(compared),
            dataset.name,
            same[0],
        )


def _annotation_shift(parts: Sequence[Part], dataset: DetectionDataset) -> int:
    """Return what is added to the ids of annotations, so that they follow those before."""
    before = [limits for part in parts if (limits := _limits(part)) is not None]
    own = _limits(Part(dataset))
    if not before or own is None:
        return 0
    if all(own[1] < low or own[0] > high for low, high in before):
        return 0
    return max(high for _, high in before) + 1 - own[0]


def _limits(part: Part) -> tuple[int, int] | None:
    """Return the smallest and the largest id of annotations; None where there are none, or none that are integers."""
    found = []
    for start, stop in chunks(part.dataset):
        try:
            ids = column(part.dataset, "id", start, stop)
        except KeyError:  # of a loader that gives none
            return None
        if ids.dtype == object:
            return None
        if len(ids):
            found.append((int(ids.min()) + part.annotation_shift, int(ids.max()) + part.annotation_shift))
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None
