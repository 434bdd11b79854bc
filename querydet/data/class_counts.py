"""Which classes the images of a data set have, and how many images have each class.

A class is in an image when one of its annotations has it; crowd regions count.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from querydet.data.catalog import class_names
from querydet.data.record_columns import chunks, column


def image_classes(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of every image, one image after the other.

    Args:
        dataset: N Detectron2 dataset dicts, which are read once, or the data set of a loader.

    Returns:
        Starts (N + 1,) int64 and classes int64: those of image i are `classes[starts[i] : starts[i + 1]]`, each once,
        in rising order.
    """
    if hasattr(dataset, "record"):  # of a loader: its items are mapped
        return _collected([_classes_of(dataset.record(index)) for index in range(len(dataset))])
    counts, classes = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    for start, stop in chunks(dataset):
        objects = column(dataset, "num_objects", start, stop)
        image = np.repeat(np.arange(stop - start), objects)
        pairs = np.unique(np.stack([image, column(dataset, "category_id", start, stop).astype(np.int64)]), axis=1)
        counts.append(np.bincount(pairs[0], minlength=stop - start))
        classes.append(pairs[1])
    return np.cumsum(np.concatenate(counts)), np.concatenate(classes)


def _classes_of(record: Mapping[str, Any]) -> list[int]:
    return sorted({annotation["category_id"] for annotation in record.get("annotations", ())})


def _collected(classes: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([0, *map(len, classes)], np.int64)
    return np.cumsum(counts), np.array([number for numbers in classes for number in numbers], np.int64)


def image_counts(dataset: Any) -> np.ndarray:
    """Return the number of images of each of the K classes, (K,) int64.

    Args:
        dataset: Detectron2 dataset dicts, or the data set of a loader, with a name that class names are registered for.

    Raises:
        ValueError: no class names are registered for the data set, or it has a class that is none of them.
    """
    num_classes = len(class_names(dataset))
    return count_images(image_classes(dataset)[1], num_classes)


def count_images(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the classes of all images, from `image_classes`, (num_classes,) int64.

    Raises:
        ValueError: a class is not in [0, num_classes).
    """
    if len(classes) and not 0 <= classes.min() <= classes.max() < num_classes:
        raise ValueError(
            f"the data set has {num_classes} classes, but annotations of classes {classes.min()} to {classes.max()}"
        )
    return np.bincount(classes, minlength=num_classes)
