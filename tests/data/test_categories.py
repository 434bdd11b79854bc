"""Which categories are classes, and how those of one file meet those of another."""

import collections

import pytest

from querydet.data import class_names, load_coco
from querydet.data.categories import find_classes, left_out, root_in_use, used_ids
from querydet.evaluation import category_ids


def entries(*names, first=1, **more):
    return [{"id": index, "name": name, **more} for index, name in enumerate(names, start=first)]


def objects(*ids):
    return [{"category_id": number} for number in ids]


def used(*ids):
    return collections.Counter(ids)


ROOT = {"id": 0, "name": "shapes", "supercategory": "none"}


def test_a_root_that_nothing_uses_is_left_out():
    categories = [ROOT, *entries("red", "green", supercategory="shapes")]
    assert list(left_out(categories, used(1, 2))) == [0]
    assert left_out(categories, used(0, 1)) == {}
    assert find_classes(categories, used_ids(objects(1, 2)), None, "x").names == ["red", "green"]


def test_a_root_that_is_used_is_a_class_and_named():
    """Ids that are one too small do that, and so do objects that nobody gave a class."""
    categories = [ROOT, *entries("red", "green", supercategory="shapes")]
    assert root_in_use(categories, used(0, 1))
    assert not root_in_use(categories, used(1, 2))
    assert not root_in_use(entries("cat", "dog", first=0, supercategory="none"), used(0, 1))
    assert not root_in_use([ROOT], used(0))
    found = find_classes(categories, used_ids(objects(0, 0, 1)), None, "x")
    assert found.names == ["shapes", "red", "green"]
    assert "2 annotations have category 0" in found.notes[0]


@pytest.mark.parametrize(
    "categories",
    [
        [ROOT],  # the only class
        entries("cat", "dog", first=0, supercategory="none"),  # an exporter that writes this for every class
        [{**ROOT, "supercategory": "animal"}, *entries("red")],
        [{**ROOT, "id": 7}, *entries("red")],
    ],
)
def test_what_only_looks_like_a_root_stays(categories):
    assert left_out(categories, used()) == {}


def test_of_equal_names_those_in_use_stay():
    categories = entries("red", "green", "red")
    assert list(left_out(categories, used(3))) == [1]
    assert list(left_out(categories, used(1))) == [3]
    assert list(left_out(categories, used())) == [3]
    assert left_out(categories, used(1, 3)) == {}


def test_another_order_and_other_ids_are_matched_by_name():
    wanted = ["red", "green", "blue"]
    found = find_classes(entries("blue", "red", "green", first=5), used_ids(objects(5, 6)), wanted, "x")
    assert (found.names, found.index_of) == (["red", "green", "blue"], {5: 2, 6: 0, 7: 1})
    assert (found.absent, found.is_matched, len(found.notes)) == ((), True, 1)


def test_missing_classes_get_ids_of_their_own():
    found = find_classes(entries("green"), used_ids(objects(1)), ["red", "green", "blue"], "x")
    assert found.index_of == {1: 1, 2: 0, 3: 2}
    assert found.absent == (0, 2)
    assert "no category 'red', 'blue'" in found.notes[0]


def test_further_classes_are_refused_only_where_they_are_used():
    categories = entries("red", "teapot")
    assert find_classes(categories, used_ids(objects(1)), ["red"], "x").names == ["red"]
    with pytest.raises(ValueError, match=r"val\.json: the model was not trained on 'teapot' \(2 annotations\).*'red'"):
        find_classes(categories, used_ids(objects(2, 2)), ["red"], "val.json")


def test_a_file_with_fewer_classes_in_another_order(write_coco, coco_json, caplog):
    paths = write_coco(coco_json)
    own = load_coco(*paths)
    coco_json["categories"] = [{"id": 1, "name": "toothbrush"}, {"id": 2, "name": "car"}]
    for annotation, number in zip(coco_json["annotations"], (1, 2, 2), strict=True):
        annotation["category_id"] = number
    other = write_coco(coco_json, "val")
    first, second = (load_coco(*other, classes=class_names(own)) for _ in range(2))
    assert class_names(first) == class_names(own) == ["car", "dog", "toothbrush"]
    assert [item["category_id"] for record in first for item in record["annotations"]] == [2, 0, 0]
    assert category_ids(first) == [2, 3, 1]  # 3 is an id that the file does not have
    assert list(first) == list(second)
    assert caplog.text.count("matched by name") == 1
    assert load_coco(*other).name != first.name  # whose classes have other numbers
    assert [item["category_id"] for record in load_coco(*other) for item in record["annotations"]] == [0, 1, 1]
