"""Class names of data sets, and their comparison with models and with each other."""

import pytest

from querydet.data import check_num_classes, class_names, load_coco
from querydet.data.catalog import check_same_classes


def test_class_count_is_compared_with_the_data(write_coco, coco_json):
    dataset = load_coco(*write_coco(coco_json))
    check_num_classes(3, dataset)
    with pytest.raises(ValueError, match=r"model.num_classes is 80, but .* 3 classes \(car, dog, toothbrush\)"):
        check_num_classes(80, dataset)


def test_unnamed_data_has_no_class_names():
    with pytest.raises(ValueError, match="no class names are registered"):
        class_names([{}])


def test_same_classes_pass_and_the_first_difference_is_named():
    check_same_classes(["cat", "dog"], ["cat", "dog"])
    with pytest.raises(ValueError, match="class 1 is 'dog' in the training data, but 'cow' in the test data"):
        check_same_classes(["cat", "dog", "cow"], ["cat", "cow"])
    with pytest.raises(ValueError, match="class 1 is none in the training data, but 'dog' in the test data"):
        check_same_classes(["cat"], ["cat", "dog"])


def test_messages_name_the_file(write_coco, coco_json):
    dataset = load_coco(*write_coco(coco_json))
    with pytest.raises(ValueError, match=r"3 classes \(car, dog, toothbrush\) in .*train\.json: set"):
        check_num_classes(80, dataset)
    with pytest.raises(ValueError, match=r"'car' in the test data in .*train\.json: give"):
        check_same_classes(["bus", "dog"], class_names(dataset), dataset)
