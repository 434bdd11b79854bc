"""Classes of images and images of classes, counted once however many objects there are."""

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from querydet.data import DetectionDataset
from querydet.data.class_counts import image_classes, image_counts
from querydet.data.stream import PositionStream


def records(*classes_of_images):
    return [{"annotations": [{"category_id": label} for label in labels]} for labels in classes_of_images]


@pytest.fixture
def named():
    MetadataCatalog.get("counted").thing_classes = ["a", "b", "c", "d"]
    yield lambda *classes: DetectionDataset(records(*classes), "counted")
    MetadataCatalog.remove("counted")


def test_a_class_counts_once_in_an_image(named):
    starts, classes = image_classes(records([2, 0, 2], [], [1]))
    assert starts.tolist() == [0, 2, 2, 3]
    assert classes.tolist() == [0, 2, 1]
    assert image_counts(named([2, 0, 2], [], [2])).tolist() == [1, 0, 2, 0]


def test_the_images_of_a_loader_are_not_read(named):
    stream = PositionStream(named([2, 0, 2], [], [2]), mapper=None, seed=0)
    assert image_counts(stream).tolist() == [1, 0, 2, 0]


def test_classes_of_images_are_those_of_a_search_of_each():
    random = np.random.default_rng(0)
    classes = [random.integers(0, 5, size).tolist() for size in random.integers(0, 9, 50)]
    starts, found = image_classes(records(*classes))
    assert [list(each) for each in np.split(found, starts[1:-1])] == [sorted(set(each)) for each in classes]


def test_images_without_annotations_have_no_classes(named):
    assert image_counts(named([], [])).tolist() == [0, 0, 0, 0]
    starts, classes = image_classes([{}, {}])
    assert (starts.tolist(), classes.dtype) == ([0, 0, 0], np.int64)


def test_a_class_without_a_name_is_refused(named):
    with pytest.raises(ValueError, match="has 4 classes, but annotations of classes 1 to 4"):
        image_counts(named([1, 4]))
    with pytest.raises(ValueError, match="has 4 classes, but annotations of classes -1 to 2"):
        image_counts(named([0], [-1, 2]))
