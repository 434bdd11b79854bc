"""Which classes the images of a data set have, and how many images have each class.

A class is in an image when one of its annotations has it; crowd regions count.
"""

from typing import Any

import numpy as np

from querydet.data.catalog import class_names
from querydet.data.record_columns import chunks, column, records_of


def image_classes(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of every image, one image after the other.

    Args:
        dataset: N Detectron2 dataset dicts, which are read once, or the data set of a loader.

    Returns:
        Starts (N + 1,) int64 and classes int64: those of image i are `classes[starts[i] : starts[i + 1]]`, each once,
        in rising order.
    """
    dataset = records_of(dataset)
    counts, found = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    for start, stop in chunks(dataset):
        objects = column(dataset, "num_objects", start, stop)
        classes = column(dataset, "category_id", start, stop).astype(np.int64)
        least = int(classes.min(initial=0))
        size = int(classes.max(initial=0)) - least + 1
        pairs = np.repeat(np.arange(stop - start), objects) * size + (classes - least)  # sorts faster than two columns
        images, unique = np.divmod(np.unique(pairs), size)
        counts.append(np.bincount(images, minlength=stop - start))
        found.append(unique + least)
    return np.cumsum(np.concatenate(counts)), np.concatenate(found)


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
